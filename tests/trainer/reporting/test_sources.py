"""Sources are named as they are known elsewhere."""

from tests.builders import train_config
from trainer.reporting.sources import languages_in, pairs_in, sources_of

DATA = {
    "train": [
        {"path": "/home/someone/rows.jsonl", "sourceLanguage": "en", "targetLanguage": "de"},
        {"huggingFace": {"name": "org/set", "split": "train[:100]", "revision": "abc"}},
    ],
    "test": [{"path": "/mnt/claims/data/held/out.csv"}],
}


def test_a_file_is_named_without_its_folder_and_a_data_set_as_the_hub_names_it() -> None:
    assert sources_of(train_config(data=DATA).data.to_wire()) == [
        {"field": "data.train[0]", "name": "rows.jsonl", "languages": "en to de"},
        {"field": "data.train[1]", "name": "org/set", "dataset": "org/set", "split": "train[:100]", "revision": "abc"},
        {"field": "data.test[0]", "name": "out.csv"},
    ]


def test_a_record_without_paths_still_says_which_sources_there_were() -> None:
    lineage = train_config(data=DATA).lineage()["data"]

    assert [source["name"] for source in sources_of(lineage)] == ["a file", "org/set", "a file"]


def test_the_first_languages_that_are_said_are_those_of_the_job() -> None:
    assert languages_in(sources_of(DATA)) == ("en", "de")
    assert languages_in([{"name": "rows.jsonl"}]) is None


def test_each_pair_of_languages_is_listed_once_and_a_record_without_paths_has_them_too() -> None:
    data = {"train": [*DATA["train"], DATA["train"][0], DATA["train"][0] | {"sourceLanguage": "de", "targetLanguage": "en"}]}

    assert pairs_in(data) == pairs_in(train_config(data=data).lineage()["data"]) == (("en", "de"), ("de", "en"))
