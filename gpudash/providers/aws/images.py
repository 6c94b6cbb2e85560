"""Which image to boot: by architecture and by what GPU the type really has, through AWS's public parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpudash.errors import AuthRefused, GpudashError, ProviderError, RateLimited, Unreachable, Unsupported
from gpudash.providers.aws.errors import translated
from gpudash.providers.aws.facts import TypeFacts
from gpudash.providers.aws.parse import login_user

_PLAIN = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{arch}"
_NVIDIA = "/aws/service/deeplearning/ami/{arch}/base-oss-nvidia-driver-gpu-{system}/latest/ami-id"
ALIASES = {
    "al2023": _PLAIN,
    "nvidia-al2023": _NVIDIA.replace("{system}", "amazon-linux-2023"),
    "nvidia-ubuntu": _NVIDIA.replace("{system}", "ubuntu-22.04"),
}
"""Names a person may use instead of an image id; ``{arch}`` is the type's own."""
_BY_NAME = {
    "nvidia-al2023": "Deep Learning Base OSS Nvidia Driver GPU AMI (Amazon Linux 2023)*",
    "nvidia-ubuntu": "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04)*",
}
"""Where AWS does not tell the parameter: the newest image of Amazon's by that name."""


@dataclass(frozen=True, slots=True)
class Image:
    """What a launch must know of an image."""

    id: str
    name: str
    architecture: str
    root_device: str
    root_gb: int
    """Size of the snapshot behind the root disk; the disk cannot be smaller."""
    other_disks: tuple[tuple[str, int], ...] = ()
    """Disks beside the root disk that every launch of it makes: device name and GB."""

    @property
    def user(self) -> str:
        """Who logs in."""
        return login_user(self.name)


def alias_for(facts: TypeFacts) -> str:
    """The image that fits a type.

    Raises:
        Unsupported: it needs drivers that no image known to us has.
    """
    if facts.has_other_accelerator or (facts.gpu_count and facts.gpu_maker != "NVIDIA"):
        what = f"{facts.gpu_maker} GPUs" if facts.gpu_count else "an accelerator that is no GPU"
        raise Unsupported(f"{facts.name} has {what}; no fitting image is known.", hint="Name one as `ami`.")
    return "nvidia-al2023" if facts.gpu_count else "al2023"


def choose_image(ssm: Any, ec2: Any, facts: TypeFacts, wanted: str | None) -> Image:
    """Find the image for a type.

    Args:
        ssm: a client of the region for parameters.
        ec2: a client of the region for images.
        facts: the type that will boot it.
        wanted: an image id, an alias, a parameter's path, or None for the one that fits.

    Raises:
        ProviderError: there is no such image, or it is for another architecture.
    """
    if wanted and wanted.startswith("ami-"):
        image = describe_image(ec2, wanted)
    else:
        image = _resolve(ssm, ec2, facts, wanted or alias_for(facts))
    if image.architecture != facts.architecture:
        raise ProviderError(
            f"Image {image.id} is for {image.architecture}, {facts.name} is {facts.architecture}.",
            hint="Name an image of that architecture, or leave `ami` out.",
        )
    return image


def describe_image(ec2: Any, image_id: str) -> Image:
    """What EC2 says of one image."""
    with translated(f"read image {image_id}"):
        found = ec2.describe_images(ImageIds=[image_id])["Images"]
    if not found:
        raise ProviderError(
            f"Image {image_id} does not exist in this region.", hint="Leave `ami` out, or name another."
        )
    return parse_image(found[0])


def parse_image(record: Mapping[str, Any]) -> Image:
    """One DescribeImages record."""
    root = str(record.get("RootDeviceName") or "/dev/xvda")
    disks = {
        str(mapping["DeviceName"]): int(mapping["Ebs"].get("VolumeSize") or 0)
        for mapping in record.get("BlockDeviceMappings") or []
        if mapping.get("Ebs")
    }
    return Image(
        id=str(record["ImageId"]),
        name=str(record.get("Name") or ""),
        architecture=str(record.get("Architecture") or "x86_64"),
        root_device=root,
        root_gb=disks.pop(root, 0),
        other_disks=tuple(disks.items()),
    )


def _resolve(ssm: Any, ec2: Any, facts: TypeFacts, wanted: str) -> Image:
    path = ALIASES.get(wanted, wanted).format(arch=facts.architecture)
    if not path.startswith("/"):
        raise ProviderError(
            f"{wanted!r} is no image.",
            hint=f"Use an image id, a parameter's path, or one of {', '.join(sorted(ALIASES))}.",
        )
    try:
        with translated(f"read image parameter {path}"):
            value = str(ssm.get_parameter(Name=path)["Parameter"]["Value"])
    except GpudashError as exc:
        found = _newest(ec2, _BY_NAME[wanted], facts.architecture) if wanted in _BY_NAME else None
        if found is None:
            hint = f"{exc.hint} Or name an image as `ami`." if exc.hint else "Name one as `ami`."
            kind = type(exc) if isinstance(exc, (AuthRefused, RateLimited, Unreachable)) else ProviderError
            raise kind(f"No image was found for {facts.name}: {exc.text}", hint=hint) from exc
        return found
    return describe_image(ec2, value)


def _newest(ec2: Any, pattern: str, architecture: str) -> Image | None:
    filters = [
        {"Name": "name", "Values": [pattern]},
        {"Name": "architecture", "Values": [architecture]},
        {"Name": "state", "Values": ["available"]},
    ]
    with translated("look for an image"):
        found = ec2.describe_images(Owners=["amazon"], Filters=filters)["Images"]
    newest = max(found, key=lambda image: str(image.get("CreationDate")), default=None)
    return None if newest is None else parse_image(newest)
