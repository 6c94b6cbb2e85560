"""How EC2's answers are read: in slices, so that a long list stops nobody else.

Python's XML parser is C code that keeps the interpreter to itself for as long as it is fed: a page of a hundred
instances is half a megabyte and ten milliseconds in which no key of the dashboard is answered.
"""

from __future__ import annotations

import time
from typing import Any
from xml.etree import ElementTree

from botocore.parsers import EC2QueryParser, ResponseParserFactory  # noqa: TID253 - this module is loaded with it

SLICE = 32 * 1024
"""Bytes the parser gets in one go: about half a millisecond."""


class SlicedParser(EC2QueryParser):  # type: ignore[misc]
    """The SDK's own parser of EC2, which lets others in between two slices."""

    def _parse_xml_string_to_dom(self, xml_string: bytes) -> Any:
        tree = ElementTree.TreeBuilder()
        parser = ElementTree.XMLParser(target=tree, encoding=self.DEFAULT_ENCODING)  # noqa: S314 - as the SDK does
        try:
            for start in range(0, len(xml_string), SLICE):
                parser.feed(xml_string[start : start + SLICE])
                time.sleep(0)  # noqa: TID251 - no time passes; another thread may run
            return parser.close()
        except ElementTree.ParseError:
            return super()._parse_xml_string_to_dom(xml_string)  # says what is wrong in the SDK's words


class Parsers(ResponseParserFactory):  # type: ignore[misc]
    """What a Session makes its parsers with."""

    def create_parser(self, protocol_name: str) -> Any:
        if protocol_name == "ec2":
            return SlicedParser(**self._defaults)
        return super().create_parser(protocol_name)
