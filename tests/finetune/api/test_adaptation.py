"""The section domainAdaptation: part of a run's lineage, its places found like those of data, and absent from jobs without it."""

from finetune.api.lineage import differing_field
from finetune.api.resolve import FileReference, references, resolve
from finetune.api.spec import FineTuneJobSpec
from tests.builders import train_config, wire_spec

CLAIM = {"persistentVolumeClaim": {"claimName": "texts", "path": "wikipedia"}}
SECTION = {
    "corpus": {"sources": [CLAIM, {"configMap": {"name": "texts", "key": "a.txt"}}], "epochs": 1},
    "replay": {"sources": [CLAIM, {"configMap": {"name": "rows", "key": "a.jsonl"}}], "share": 0.1},
    "generalEvaluation": [CLAIM],
    "domainEvaluation": [{"path": "domain/*.txt"}],
    "sweep": [0.5],
}


def test_every_place_that_it_names_is_resolved() -> None:
    spec = FineTuneJobSpec.model_validate(wire_spec(domainAdaptation=SECTION))
    fields = [reference.field for reference in references(spec) if reference.field.startswith("domainAdaptation")]
    assert fields == [
        "domainAdaptation.corpus.sources[0]",
        "domainAdaptation.corpus.sources[1]",
        "domainAdaptation.replay.sources[0]",
        "domainAdaptation.replay.sources[1]",
        "domainAdaptation.generalEvaluation[0]",
        "domainAdaptation.domainEvaluation[0]",
    ]
    assert FileReference("domainAdaptation.domainEvaluation[0]", path="domain/*.txt").has_pattern

    found = resolve(spec, lambda reference: f"/found/{reference.field}").domain_adaptation
    assert found is not None
    assert found.to_wire() == {
        "corpus": {
            "sources": [{"path": f"/found/{fields[0]}"}, {"path": f"/found/{fields[1]}"}],
            "epochs": 1,
            "validationFraction": 0.05,
            "testFraction": 0.05,
        },
        "replay": {"sources": [{"path": f"/found/{fields[2]}"}, {"path": f"/found/{fields[3]}"}], "share": 0.1},
        "generalEvaluation": [{"path": f"/found/{fields[4]}"}],
        "domainEvaluation": [{"path": f"/found/{fields[5]}"}],
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


def test_what_is_learned_before_the_task_is_part_of_the_run_and_the_model_that_it_made_is_not() -> None:
    corpus = {"sources": [{"path": "/texts"}], "maxSteps": 9}
    config = train_config(domainAdaptation={"corpus": corpus, "generalEvaluation": [{"path": "/a"}]})
    assert config.adaptation is None, "the section is meant for the run that learns the corpus"
    begun = config.changed(model=config.model.changed(adapted={"path": "/out/adaptation/model/merged"}))
    assert begun.lineage() == config.lineage()
    longer = train_config(domainAdaptation={"corpus": corpus | {"maxSteps": 10}, "generalEvaluation": [{"path": "/a"}]})
    assert differing_field(config.lineage(), longer.lineage()) == "domainAdaptation.corpus.maxSteps"
    assert train_config(domainAdaptation={"generalEvaluation": [{"path": "/a"}]}).adaptation is not None
