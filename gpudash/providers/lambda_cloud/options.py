"""What a launch at Lambda can be told beside type, region and limits. Data: command line, dashboard and page read it."""

from __future__ import annotations

from gpudash.model.capability import LaunchOption

LAUNCH_OPTIONS = (
    LaunchOption("file_system", "a filesystem of the same region, by name; several with commas", local_prefix=""),
    LaunchOption("ssh_key_name", "a key that is at Lambda already; else your own public key, uploaded once"),
    LaunchOption("public_key", "file of the public key to use; else from the agent or ~/.ssh"),
    LaunchOption("image", "an image's id, or a family; else the newest Lambda Stack"),
    LaunchOption("user_data", "cloud-init text, at most 1 MB"),
    LaunchOption("user_data_file", "file with that text"),
    LaunchOption("hostname", "a to z, 0 to 9 and -, at most 63"),
    LaunchOption("owner", "left out: Lambda knows who launched it"),
    LaunchOption("tag.", "another tag: tag.KEY; it cannot be changed later"),
)
