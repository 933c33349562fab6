"""The section domainAdaptation: part of a run's lineage, its places found like those of data, and absent from jobs without it."""

from finetune.api.lineage import differing_field
from finetune.api.resolve import FileReference, references, resolve
from finetune.api.spec import FineTuneJobSpec
from tests.builders import train_config, wire_spec

CLAIM = {"persistentVolumeClaim": {"claimName": "texts", "path": "wikipedia"}}
SECTION = {
    "replay": {"sources": [CLAIM, {"configMap": {"name": "rows", "key": "a.jsonl"}}], "share": 0.1},
    "generalEvaluation": [CLAIM],
    "domainEvaluation": [{"path": "domain/*.txt"}],
    "sweep": [0.5],
}


def test_every_place_that_it_names_is_resolved() -> None:
    spec = FineTuneJobSpec.model_validate(wire_spec(domainAdaptation=SECTION))
    fields = [reference.field for reference in references(spec) if reference.field.startswith("domainAdaptation")]
    assert fields == [
        "domainAdaptation.replay.sources[0]",
        "domainAdaptation.replay.sources[1]",
        "domainAdaptation.generalEvaluation[0]",
        "domainAdaptation.domainEvaluation[0]",
    ]
    assert FileReference("domainAdaptation.domainEvaluation[0]", path="domain/*.txt").has_pattern

    found = resolve(spec, lambda reference: f"/found/{reference.field}").domain_adaptation
    assert found is not None
    assert found.to_wire() == {
        "replay": {"sources": [{"path": f"/found/{fields[0]}"}, {"path": f"/found/{fields[1]}"}], "share": 0.1},
        "generalEvaluation": [{"path": f"/found/{fields[2]}"}],
        "domainEvaluation": [{"path": f"/found/{fields[3]}"}],
        "sweep": [0.5],
    }


def test_a_run_with_it_is_another_run_and_one_without_it_is_what_it_was() -> None:
    plain = train_config().lineage()
    recorded = {name: value for name, value in plain.items() if name != "domainAdaptation"}
    assert differing_field(recorded, plain) is None, "an earlier version recorded no such section"
    section = {"generalEvaluation": [{"path": "/a"}]}
    adapting = train_config(domainAdaptation=section).lineage()
    assert differing_field(recorded, adapting) == "domainAdaptation"
    budget = train_config(domainAdaptation=section | {"maxGeneralPerplexityIncreasePercent": 10}).lineage()
    assert differing_field(adapting, budget) == "domainAdaptation.maxGeneralPerplexityIncreasePercent"
    assert differing_field(adapting, train_config(domainAdaptation={"generalEvaluation": [{"path": "/moved"}]}).lineage()) is None
