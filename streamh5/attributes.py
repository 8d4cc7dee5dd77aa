"""``attrs``: the attributes of a file, group or dataset, as a dictionary."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from streamh5.plan.attribute_spec import attribute_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.plan.tree import Node
    from streamh5.session import Session

__all__ = ["Attributes"]


class Attributes(MutableMapping[str, Any]):
    """Attributes by name; they can be set until the file is closed.

    Values are kept as they were given, for reading back; what the file holds is decided when an
    attribute is set, so a value that cannot be written is refused there.
    """

    def __init__(self, session: Session, node: Node) -> None:
        self._session = session
        self._node = node

    def __getitem__(self, name: str) -> Any:
        attribute = self._node.attributes[name]
        if attribute.value is None:
            raise KeyError(
                f"attribute {name!r} of {self._node.path} was in the file before; read it with h5py"
            )
        return attribute.value

    def __contains__(self, name: object) -> bool:
        return name in self._node.attributes

    def __setitem__(self, name: str, value: Any) -> None:
        self._session.check_open()
        self._session.set_attribute(self._node, attribute_spec(name, value, path=self._node.path))

    def __delitem__(self, name: str) -> None:
        self._session.remove_attribute(self._node, name)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._node.attributes))

    def __len__(self) -> int:
        return len(self._node.attributes)

    def __repr__(self) -> str:
        return f"<attributes of {self._node.path}: {', '.join(self) or 'none'}>"
