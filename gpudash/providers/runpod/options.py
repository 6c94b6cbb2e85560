"""What a launch at RunPod can be told beside type, region and limits. Data: command line, dashboard and page read it."""

from __future__ import annotations

from gpudash.model.capability import LaunchOption

LAUNCH_OPTIONS = (
    LaunchOption("image", "container image; else RunPod's PyTorch image"),
    LaunchOption("template", "a template's id: its image, ports, variables and disks, ours added"),
    LaunchOption("args", "what the container runs instead of the image's own command, which also starts sshd"),
    LaunchOption("disk_gb", "container disk, 50 GB without it; wiped at every stop"),
    LaunchOption("volume_gb", "volume that survives a stop, 20 GB without it; 0 for none"),
    LaunchOption("volume_path", "where the volume is mounted; /workspace without it"),
    LaunchOption("network_volume", "id of a network volume to mount instead", local_prefix=""),
    LaunchOption("ports", "more ports, 8000/http,5432/tcp; those by HTTP are open to the world"),
    LaunchOption("env.", "a variable of the container: env.NAME"),
    LaunchOption("data_center", "where, else the offer's region", local_prefix=""),
    LaunchOption("min_cuda", "lowest CUDA version of the host: 12.8"),
    LaunchOption("registry", "id of a registry credential, for private images"),
    LaunchOption("jupyter", "RunPod starts JupyterLab", choices=("true", "false")),
    LaunchOption("public_key", "file of the public key to log in with; else from the agent or ~/.ssh"),
    LaunchOption("owner", "left out: RunPod knows who launched it"),
)
