"""A contract of import-linter: each room of a package, a module or package right under it, imports only the rooms listed for it.

A room without a line and a line that says too much break the contract too, so the lists say how the rooms depend on each other.
A room may list only rooms of later lines, so that no two of them need each other. For `lint-imports`, which finds the class by
`contract_types` in pyproject.toml. Test: tests/packaging/test_room_contract.py.
"""

from collections.abc import Iterator

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class RoomsContract(Contract):
    """`package` is the package; `may_import` has a line `room: other rooms` for each of its rooms."""

    type_name = "rooms"

    package = fields.StringField()
    may_import = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Compare the imports between rooms with the lists."""
        faults = sorted(self._faults(graph))
        return ContractCheck(kept=not faults, metadata={"faults": faults})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print what differs."""
        for fault in check.metadata["faults"]:
            output.print_error(f"- {fault}", bold=False)
        output.new_line()

    def _faults(self, graph: ImportGraph) -> Iterator[str]:
        lines = (line.partition(":") for line in self.may_import)
        allowed = {room: set(others.split()) for room, _, others in lines}
        rooms = {self._room(module) for module in graph.find_children(self.package)}
        yield from (f"{room} has no line" for room in rooms - allowed.keys())
        yield from (f"{room} is no room of {self.package}" for room in allowed.keys() - rooms)
        order = list(allowed)
        yield from (f"{other} has no line below {room}" for place, room in enumerate(order) for other in allowed[room] - set(order[place:]))
        used: set[tuple[str, str]] = set()
        for importer in graph.find_descendants(self.package):
            for imported in graph.find_modules_directly_imported_by(importer):
                if not imported.startswith(f"{self.package}.") or self._room(importer) == self._room(imported):
                    continue
                used.add((self._room(importer), self._room(imported)))
                if self._room(imported) not in allowed.get(self._room(importer), ()):
                    yield f"{importer} imports {imported}"
        yield from (f"{room} does not import {other}" for room in allowed for other in allowed[room] if (room, other) not in used)

    def _room(self, module: str) -> str:
        return module.removeprefix(f"{self.package}.").partition(".")[0]
