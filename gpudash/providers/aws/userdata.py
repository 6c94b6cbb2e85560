"""What cloud-init runs at the first boot: the person's own text, and a timer of ours for the hard deadline. Pure.

The hard deadline never moves, so it can be handed to the operating system before anything of ours is pushed: a box
whose push fails still powers itself off that day. After a restart past the deadline it does so at once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

from gpudash.errors import UsageError

_TIMER = """#!/bin/sh
cat >/etc/systemd/system/gpudash-hard-deadline.service <<'END'
[Unit]
Description=gpudash: the hard deadline of this instance has passed
[Service]
Type=oneshot
ExecStart=/usr/bin/env systemctl poweroff
END
cat >/etc/systemd/system/gpudash-hard-deadline.timer <<'END'
[Unit]
Description=gpudash: hard deadline of this instance
[Timer]
OnCalendar={moment}
Persistent=true
AccuracySec=1s
[Install]
WantedBy=timers.target
END
systemctl daemon-reload
systemctl enable --now gpudash-hard-deadline.timer
"""
_KINDS = (("#!", "x-shellscript"), ("#cloud-config", "cloud-config"), ("#include", "x-include-url"))


def with_hard_deadline(text: str | None, deadline: datetime | None) -> str | None:
    """User data that also arms the timer; the text itself where there is no deadline.

    Raises:
        UsageError: the text is none that cloud-init knows, so it cannot stand beside ours.
    """
    if deadline is None:
        return text or None
    timer = _TIMER.format(moment=deadline.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"))
    if not text:
        return timer
    whole = MIMEMultipart(boundary="==gpudash==")
    whole.attach(_part(timer, "x-shellscript"))
    for start, kind in _KINDS:
        if text.startswith(start):
            whole.attach(_part(text, kind))
            return whole.as_string()
    raise UsageError(
        "user_data must begin with #!, #cloud-config or #include.", hint="A shell script begins with #!/bin/sh."
    )


def _part(text: str, kind: str) -> MIMEText:
    charset = "us-ascii" if text.isascii() else "utf-8"
    return MIMEText(text, kind, charset)
