"""The contract of rooms is broken by an import that is not listed, by a room without a line, and by a line that says too much."""

import pytest
from grimp import ImportGraph

from scripts.room_contract import RoomsContract

IMPORTS = [("house.kitchen.stove", "house.cellar.wood"), ("house.kitchen.stove", "house.kitchen.pots"), ("house.hall", "garden.gate")]


def house() -> ImportGraph:
    graph = ImportGraph()
    for module in ("house", "house.kitchen", "house.cellar", "garden", *(module for pair in IMPORTS for module in pair)):
        graph.add_module(module)
    for importer, imported in IMPORTS:
        graph.add_import(importer=importer, imported=imported)
    return graph


@pytest.mark.parametrize(
    ("lines", "faults"),
    [
        pytest.param(["kitchen: cellar", "cellar:", "hall:"], [], id="as it is"),
        pytest.param(["kitchen:", "cellar:", "hall:"], ["house.kitchen.stove imports house.cellar.wood"], id="an import too many"),
        pytest.param(["kitchen: cellar", "cellar:"], ["hall has no line"], id="a new room"),
        pytest.param(["kitchen: cellar hall", "cellar:", "hall:"], ["kitchen does not import hall"], id="an unneeded line"),
        pytest.param(["cellar:", "kitchen: cellar", "hall:"], ["cellar has no line below kitchen"], id="in the wrong order"),
        pytest.param(["kitchen: cellar", "cellar:", "hall:", "attic:"], ["attic is no room of house"], id="a room that is gone"),
    ],
)
def test_each_room_imports_exactly_what_is_listed_for_it(lines: list[str], faults: list[str]) -> None:
    contract = RoomsContract("rooms", {"root_packages": ["house"]}, {"package": "house", "may_import": lines})
    check = contract.check(house(), verbose=False)
    assert (check.kept, check.metadata["faults"]) == (not faults, faults)
