from pathlib import Path

from finetune.api.trainconfig import OutputFolder
from trainer.storage.kinds import output_place


def test_results_go_to_the_folder_and_are_named_as_the_user_named_it(tmp_path: Path) -> None:
    place = output_place(OutputFolder(directory=str(tmp_path), uri="pvc://models/job"))
    place.put("report.json", "{}")
    assert (tmp_path / "report.json").read_text() == "{}"
    assert place.uri("report.json") == "pvc://models/job/report.json"
    assert output_place(OutputFolder(directory=str(tmp_path))).uri("report.json") == str(tmp_path / "report.json")
