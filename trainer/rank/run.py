"""One rank's run: load, resume, train, measure base and tuned model, export, report. Every rank takes every step; only rank 0 writes.

The base model is measured last where training leaves it as it is (LoRA), so that the first step need not wait; otherwise first.

Test: tests/trainer/rank/test_run.py (real Ray, a small model), tests/trainer/rank/test_results.py (one rank, no Ray).
"""

from dataclasses import replace

from finetune.api.record import OutputRecord
from finetune.api.timings import TimedStage
from trainer.augmentation.rewritten import NONE, Rewritten
from trainer.model.packing import layout_finding
from trainer.rank.adapting import Adapting
from trainer.rank.assignment import Assignment
from trainer.rank.basefigures import base_guesses, base_of_another
from trainer.rank.best import take_best_weights, within_budget
from trainer.rank.launch import collect_as_usual
from trainer.rank.loading import Loaded, load
from trainer.rank.measuring import Measuring, at_once
from trainer.rank.outbox import Outbox
from trainer.rank.recomputing import with_recomputation
from trainer.rank.results import add_exports, existing_report, write_base, write_results
from trainer.rank.resuming import resume
from trainer.rank.rewriting import check_same, rewrite
from trainer.rank.rows import Rows
from trainer.rank.summary import TestFigures, TrainedRun, corpus
from trainer.rank.training import progress_at, train_model
from trainer.reporting.adaptation import adaptation_figures
from trainer.reporting.messages import Silent
from trainer.training.loop import StopReason


def execute(work: Assignment) -> None:
    """Run to the end, or until the driver asks to stop."""
    if work.inputs.rewriters:
        work.clock.begin(TimedStage.REWRITING)
    rewritten = rewrite(work)
    work.clock.begin(TimedStage.LOAD)
    loaded = load(work.config, work.inputs)
    collect_as_usual()
    run_loaded(work, loaded, rewritten)
    # Others may still read what rank 0 has given them, from its process. A rank that fails never comes here, and ends the wait.
    loaded.engine.wait_for_all()


def run_loaded(work: Assignment, loaded: Loaded, rewritten: Rewritten = NONE) -> None:
    """Do all that comes after loading."""
    config, dataset, store, clock = work.config, work.inputs.dataset, work.checkpoints(), work.clock
    outbox = Outbox(work.sender if loaded.engine.rank == 0 else Silent(), work.inputs.findings)
    outbox.send(model=loaded.provenance, output=OutputRecord(uri=work.place.uri()))
    may_pack = not work.inputs.task.objective.family.targets_follow  # the rows of such models are always padded
    finding = layout_finding(config.training, loaded.padded_because, may_pack=may_pack)
    if finding is not None and finding not in outbox.warnings:  # the checks may have found it already
        outbox.warn(finding)
    for finding in loaded.findings:
        if finding not in outbox.warnings:
            outbox.warn(finding)
    rows = replace(Rows.of(dataset, work.inputs.written_tokens), rewritten=rewritten)
    loaded = with_recomputation(config, loaded, at_once(config, rows, packed=loaded.packed), rows.longest_target)

    clock.begin(TimedStage.RESUME)
    start = resume(work, loaded, store, outbox)
    check_same(start.rewritten, rewritten)
    measuring = Measuring(work.inputs.task, config, dataset, loaded, rows, start.ledger, outbox)
    adapting = Adapting(config, measuring)
    if config.derived is not None and config.derived.base_only:
        write_base(TrainedRun(work, loaded, rows, start, progress_at(start, config, rows), start.step), measuring, outbox)
        return
    if config.derived is None and (learned := corpus(work)) is not None:
        start.ledger.note(adaptation=adaptation_figures(learned))
    baseline = start.baseline or base_of_another(work, loaded)
    if baseline is not None and config.derived is None:
        start.ledger.note(baseline=baseline.values())
    if start.baseline is None and not measuring.base_outlives_training:
        clock.begin(TimedStage.BASE)
        baseline = baseline or measuring.baseline()
        adapting.measure_base()

    progress = train_model(work, loaded, rows, start, baseline, measuring, adapting, store, outbox)
    if progress.stop_reason is StopReason.INTERRUPTED:
        return
    clock.begin(TimedStage.FINAL)
    derived, step = config.derived, progress.step
    if derived is None or not derived.last_weights:
        step = take_best_weights(loaded.engine, store, start.ledger, outbox, progress.step)
    adapting.check_budget(step, loaded.engine.broadcast(within_budget(store, step)))

    trained, report = TrainedRun(work, loaded, rows, start, progress, step), existing_report(work, loaded.engine, step)
    if report is not None:
        clock.begin(TimedStage.EXPORT)
        add_exports(trained, report, outbox)
        return
    if baseline is None:
        clock.begin(TimedStage.BASE)
        baseline = measuring.baseline()
        clock.begin(TimedStage.FINAL)
    final = measuring.final(step)
    adapted = adapting.finish(step, progress.step, baseline, final, work.inputs.shift, outbox)
    comparison = measuring.compared(baseline, final, guessed=base_guesses(config, loaded))
    figures = TestFigures(baseline, final, comparison, adapted)
    clock.begin(TimedStage.EXPORT)
    write_results(trained, figures, store.records, outbox)
