"""What a launch at EC2 can be told beside type, region and limits. Data: command line, dashboard and page read it."""

from __future__ import annotations

from gpudash.model.capability import LaunchOption

YES_NO = ("true", "false")
LAUNCH_OPTIONS = (
    LaunchOption("availability_zone", "the zone; else each that offers the type, one after another", local_prefix=""),
    LaunchOption("ami", "image id, path of an SSM parameter, or an alias; else by architecture and GPU",
                 choices=("al2023", "nvidia-al2023", "nvidia-ubuntu"), is_open=True, local_prefix="ami-"),
    LaunchOption("disk_gb", "size of the root disk; at least what the image needs"),
    LaunchOption("disk_type", "kind of the root disk; else gp3", choices=("gp3", "gp2", "io2"), is_open=True),
    LaunchOption("hibernate", "able to hibernate, also where no limit asks for it; no type with a GPU can",
                 choices=YES_NO),
    LaunchOption("spot_type", "of a spot instance; else what the limits need", choices=("one-time", "persistent")),
    LaunchOption("spot_max_price", "USD an hour for a spot instance; else the order's own cap"),
    LaunchOption("key_name", "a key pair that exists in the region; else your own public key", local_prefix=""),
    LaunchOption("public_key", "file of the public key to upload; else from the agent or ~/.ssh"),
    LaunchOption("user_data", "cloud-init text: #!…, #cloud-config or #include"),
    LaunchOption("user_data_file", "file with that text"),
    LaunchOption("capacity_reservation_id", "a capacity reservation by its id", local_prefix=""),
    LaunchOption("capacity_block", "that reservation is a capacity block", choices=YES_NO),
    LaunchOption("shutdown", "what a power-off does; else what the limits need", choices=("stop", "terminate")),
    LaunchOption("subnet_id", "a subnet; else the default network, or a small one of ours", local_prefix=""),
    LaunchOption("security_group_id", "a security group; else ours: SSH from this machine only", local_prefix=""),
    LaunchOption("ssh_cidr", "who may reach port 22, like 203.0.113.7/32; else this machine; everybody is refused"),
    LaunchOption("public_ip", "false: reachable inside its network only, and no address to pay for", choices=YES_NO),
    LaunchOption("instance_profile", "name of an instance profile, or none; else ours: a box ends only itself",
                 choices=("none",), is_open=True),
    LaunchOption("architecture", "refuse a type of another one", choices=("x86_64", "arm64")),
    LaunchOption("parent", "id of the instance this one goes with", local_prefix=""),
    LaunchOption("owner", "a short name; else your login name"),
    LaunchOption("tag.", "another tag: tag.KEY"),
)  # fmt: skip
