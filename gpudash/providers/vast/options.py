"""What a launch at Vast can be told beside type, region and name."""

from __future__ import annotations

from gpudash.model.capability import LaunchOption

LAUNCH_OPTIONS = (
    LaunchOption("image", "container image; else Vast's base image, or the template's"),
    LaunchOption("template", "a template's hash id, whose image and settings are taken; what is given here wins"),
    LaunchOption("onstart", "a script that runs as root at every start of the container, up to 4,000 characters"),
    LaunchOption("onstart_file", "the same, from a file"),
    LaunchOption("env.", "a variable of the container"),
    LaunchOption("env_from.", "the same, from a variable of this machine: for secrets, which are written nowhere else"),
    LaunchOption("ports", "more ports of the container to map: 8000,5432/udp"),
    LaunchOption("disk_gb", "the disk, which never grows; 32"),
    LaunchOption("bid", "USD an hour for the whole machine, for spot; else the least that it takes"),
    LaunchOption("registry_login_from", "a variable of this machine that holds -u USER -p SECRET HOST"),
    LaunchOption("volume", "ID:/path, a volume that stands on the same machine", local_prefix=""),
    LaunchOption("jupyter", "JupyterLab beside SSH", choices=("true", "false")),
    LaunchOption("public_key", "the file of the public key to log in with"),
)
