"""Jobs that nobody may run, each with what the message must say: the API server and the models must both refuse them."""

from dataclasses import dataclass
from typing import Any

from tests.builders import REMOVED, SPEC, resource

TRAIN = SPEC["data"]["train"]


@dataclass(frozen=True)
class Malformed:
    """`says` are parts of the API server's message: the field, and what to do."""

    name: str
    job: dict[str, Any]
    says: tuple[str, ...]
    by_name: bool = False
    """The fault is in the metadata, which the models of the spec do not see."""


def _source(**fields: Any) -> dict[str, Any]:
    return {"train": [fields]}


MALFORMED = [
    Malformed("unknown field", resource(training={"epochs": 1, "lerningRate": 1e-4}), ('unknown field "spec.training.lerningRate"',)),
    Malformed("unknown section", resource(trainning={"epochs": 1}), ('unknown field "spec.trainning"',)),
    Malformed(
        "two data sources in one",
        resource(data=_source(configMap={"name": "rows", "key": "a.jsonl"}, huggingFace={"name": "org/set"})),
        ("spec.data.train[0]", "source: give exactly one of huggingFace, persistentVolumeClaim, configMap, path"),
    ),
    Malformed("source without a place", resource(data=_source(format="jsonl")), ("spec.data.train[0]", "source: give exactly one of")),
    Malformed(
        "a format of a data set of the hub",
        resource(data=_source(huggingFace={"name": "org/set"}, format="csv")),
        ("spec.data.train[0]", "format, delimiter: only files have them"),
    ),
    *(
        Malformed(
            f"a data set named {name}",
            resource(data=_source(huggingFace={"name": name})),
            ("spec.data.train[0].huggingFace", "without https://huggingface.co/ and datasets/ before it"),
        )
        for name in ("datasets/org/set", "datasets/set", "https://huggingface.co/datasets/org/set", "org/set/", "./folder")
    ),
    Malformed(
        "a delimiter of two characters",
        resource(data=_source(configMap={"name": "rows", "key": "a.csv"}, delimiter=";;")),
        ("spec.data.train[0].delimiter", "1"),
    ),
    Malformed(
        "an adaptation to nothing",
        resource(domainAdaptation={}),
        ("spec.domainAdaptation", "domainAdaptation: give at least one of corpus, replay, generalEvaluation, domainEvaluation"),
    ),
    Malformed(
        "a corpus that is learned without end",
        resource(domainAdaptation={"corpus": {"sources": TRAIN}}),
        ("spec.domainAdaptation.corpus", "domainAdaptation.corpus: give exactly one of epochs, maxSteps"),
    ),
    Malformed(
        "a corpus before texts",
        resource(task="language-modeling", domainAdaptation={"corpus": {"sources": TRAIN, "epochs": 1}}),
        ("spec", "domainAdaptation.corpus: the texts that task language-modeling learns are data.train; name them there"),
    ),
    Malformed(
        "a corpus in the middle of training",
        resource(continueFrom={"fineTuneJob": "earlier"}, domainAdaptation={"corpus": {"sources": TRAIN, "epochs": 1}}),
        ("spec", "domainAdaptation.corpus: a job that continues another one learns no corpus first"),
    ),
    Malformed(
        "a budget without texts",
        resource(domainAdaptation={"replay": {"sources": TRAIN}, "maxGeneralPerplexityIncreasePercent": 10}),
        ("spec.domainAdaptation", "domainAdaptation.maxGeneralPerplexityIncreasePercent: needs generalEvaluation"),
    ),
    Malformed(
        "a sweep without texts",
        resource(domainAdaptation={"replay": {"sources": TRAIN}, "sweep": [0.5]}),
        ("spec.domainAdaptation", "domainAdaptation.sweep: needs generalEvaluation"),
    ),
    Malformed(
        "a position beyond the tuned weights",
        resource(domainAdaptation={"generalEvaluation": TRAIN, "sweep": [1.0]}),
        ("spec.domainAdaptation.sweep[0]", "should be less than 1"),
    ),
    Malformed(
        "nothing but replay",
        resource(domainAdaptation={"replay": {"sources": TRAIN, "share": 1}}),
        ("spec.domainAdaptation.replay.share", "should be less than 1"),
    ),
    Malformed("no training data", resource(data={"train": []}), ("spec.data.train", "at least 1 items")),
    Malformed("no data section", resource(data=REMOVED), ("spec.data", "Required value")),
    Malformed(
        "negative learning rate",
        resource(training={"epochs": 1, "learningRate": -1e-4}),
        ("spec.training.learningRate", "should be greater than 0"),
    ),
    Malformed(
        "both epochs and maxSteps",
        resource(training={"epochs": 1, "maxSteps": 10}),
        ("spec.training", "training: give exactly one of epochs, maxSteps"),
    ),
    Malformed("neither epochs nor maxSteps", resource(training={}), ("spec.training", "training: give exactly one of epochs, maxSteps")),
    Malformed(
        "a ZeRO stage that does not exist",
        resource(distributed={"deepspeed": {"zeroStage": 4}}),
        ("spec.distributed.deepspeed.zeroStage", "Unsupported value: 4", 'supported values: "0", "1", "2", "3"'),
    ),
    Malformed(
        "nothing to offload",
        resource(distributed={"deepspeed": {"zeroStage": 0, "offload": {"optimizer": True}}}, resources={"gpus": 1}),
        ("spec.distributed.deepspeed", "offload: ZeRO stage 0 has nothing to offload"),
    ),
    Malformed(
        "parameters offloaded that are not sharded",
        resource(distributed={"deepspeed": {"zeroStage": 2, "offload": {"parameters": True}}}, resources={"gpus": 1}),
        ("spec.distributed.deepspeed", "offload.parameters: only ZeRO stage 3 shards parameters"),
    ),
    Malformed(
        "an empty offload",
        resource(distributed={"deepspeed": {"zeroStage": 3, "offload": {}}}, resources={"gpus": 1}),
        ("spec.distributed.deepspeed.offload", "offload: set optimizer, parameters or both to true"),
    ),
    Malformed(
        "offload without a GPU",
        resource(distributed={"deepspeed": {"zeroStage": 3, "offload": {"optimizer": True}}}),
        ("spec", "distributed.deepspeed.offload: without GPUs all state is in the worker's memory already"),
    ),
    Malformed(
        "quantized weights that are to be sharded",
        resource(method={"lora": {"quantization": {}}}, distributed={"deepspeed": {"zeroStage": 3}}),
        ("spec", "method.lora.quantization: ZeRO stage 3 cannot shard weights of 4 bits"),
    ),
    Malformed(
        "a data type of weights that does not exist",
        resource(method={"lora": {"quantization": {"type": "int4"}}}),
        ("spec.method.lora.quantization.type", "nf4", "fp4"),
    ),
    Malformed(
        "packed rows compiled",
        resource(training={"epochs": 1, "compile": True}),
        ("spec.training", "training.compile: packed rows would be compiled again for every batch; set packing to never"),
    ),
    Malformed(
        "packed rows grouped by length",
        resource(training={"epochs": 1, "packing": "always", "groupByLength": True}),
        ("spec.training", "training.groupByLength: packed rows have no padding to save; set it to false, or packing to auto or never"),
    ),
    Malformed(
        "DeepSpeed compiled",
        resource(training={"epochs": 1, "compile": True, "packing": "never"}, distributed={"deepspeed": {}}),
        ("spec", "training.compile: not tried with DeepSpeed"),
    ),
    Malformed("a task that does not exist", resource(task="chatting"), ("spec.task", "chat", "language-modeling")),
    Malformed("two methods", resource(method={"lora": {}, "full": {}}), ("spec.method", "method: give exactly one of lora, full, osf")),
    Malformed(
        "adapters and directions", resource(method={"lora": {}, "osf": {}}), ("spec.method", "method: give exactly one of lora, full")
    ),
    Malformed(
        "half a direction more",
        resource(method={"osf": {"effectiveRank": 2.5}}),
        ("spec.method.osf", "effectiveRank: from 1 on it is a number of directions; give a whole number"),
    ),
    Malformed(
        "nothing frozen", resource(method={"full": {"freeze": {}}}), ("spec.method.full.freeze", "freeze: set embeddings, layers or body")
    ),
    Malformed(
        "nothing frozen in words",
        resource(method={"full": {"freeze": {"embeddings": False, "body": False}}}),
        ("spec.method.full.freeze", "freeze: set embeddings, layers or body, or leave it out"),
    ),
    Malformed(
        "lengths of sharded weights",
        resource(method={"lora": {"useDora": True}}, distributed={"deepspeed": {"zeroStage": 3}}),
        ("spec", "method.lora.useDora: the length of a row cannot be computed where ZeRO stage 3 shards the weights"),
    ),
    Malformed(
        "lengths of quantized weights",
        resource(method={"lora": {"useDora": True, "quantization": {}}}),
        ("spec", "method.lora.useDora: not tried with quantized weights; leave method.lora.quantization out"),
    ),
    Malformed(
        "decay of weak directions",
        resource(method={"osf": {}}, regularization={"weightDecay": 0.01}),
        ("spec", "regularization.weightDecay: with method.osf it would shrink the base model's weak directions"),
    ),
    Malformed(
        "directions of sharded weights",
        resource(method={"osf": {}}, distributed={"deepspeed": {"zeroStage": 3}}),
        ("spec", "method.osf: weights that ZeRO stage 3 shards cannot be decomposed"),
    ),
    Malformed(
        "adapters on random weights",
        resource(model={"name": "org/model", "initialization": "random"}),
        ("spec", "model.initialization: random weights are written nowhere"),
    ),
    Malformed(
        "rates by layer of adapters",
        resource(training={"epochs": 1, "layerwiseLearningRateDecay": 0.9}),
        ("spec", "training.layerwiseLearningRateDecay: it is for weights that are trained themselves"),
    ),
    Malformed(
        "a decay of a schedule without one",
        resource(training={"epochs": 1, "decayRatio": 0.1}),
        ("spec.training", "training.decayRatio: only scheduler warmupStableDecay has a decay of its own"),
    ),
    Malformed(
        "a schedule of more than all steps",
        resource(training={"epochs": 1, "scheduler": "warmupStableDecay", "warmupRatio": 0.9}),
        ("spec.training", "training.decayRatio: with warmupRatio it is more than all steps"),
    ),
    Malformed(
        "recomputation in the words of before",
        resource(training={"epochs": 1, "gradientCheckpointing": True}),
        ("spec.training.gradientCheckpointing", "auto", "always", "never"),
    ),
    Malformed(
        "a model of two origins",
        resource(model={"name": "org/model", "persistentVolumeClaim": {"claimName": "models"}}),
        ("spec.model", "model: give exactly one of name, persistentVolumeClaim, path, fineTuneJob"),
    ),
    Malformed(
        "a model by address",
        resource(model={"name": "https://hub.example/org/model"}),
        ("spec.model", "model.name: give the name as the hub shows it"),
    ),
    Malformed(
        "a revision of a folder",
        resource(model={"persistentVolumeClaim": {"claimName": "models"}, "revision": "main"}),
        ("spec.model", "model.revision: only a model with a name has one"),
    ),
    Malformed(
        "validation given twice",
        resource(data={"train": TRAIN, "validation": TRAIN, "validationFraction": 0.1}),
        ("spec.data", "data: give only one of validation, validationFraction"),
    ),
    Malformed(
        "half of the rows and more held out",
        resource(data={"train": TRAIN, "testFraction": 0.9}),
        ("spec.data.testFraction", "less than or equal to 0.5"),
    ),
    Malformed(
        "output outside its claim",
        resource(output={"persistentVolumeClaim": {"claimName": "models", "path": "../others"}}),
        ("spec.output.persistentVolumeClaim", "path: a path inside the claim is relative and has no '..' and no control characters"),
    ),
    Malformed(
        "an output whose name acts on a terminal",
        resource(output={"persistentVolumeClaim": {"claimName": "models", "path": "a\x1b[31m"}}),
        ("spec.output.persistentVolumeClaim", "and no control characters"),
    ),
    Malformed(
        "an output whose name turns the line around",
        resource(output={"persistentVolumeClaim": {"claimName": "models", "path": "a\u202eb"}}),
        ("spec.output.persistentVolumeClaim", "and no control characters"),
    ),
    Malformed(
        "a key that is the folder above",
        resource(data=_source(configMap={"name": "rows", "key": ".."})),
        ("spec.data.train[0].configMap.key", "should match"),
    ),
    Malformed(
        "a revision that is a path",
        resource(model={"name": "org/model", "revision": "../../x"}),
        ("spec.model.revision", "should match"),
    ),
    Malformed(
        "a node's label that is too long for one",
        resource(resources={"nodeSelector": {"a" * 64: "yes"}}),
        ("spec.resources", "a key is not a label's name"),
    ),
    Malformed("no output", resource(output=REMOVED), ("spec.output", "Required value")),
    Malformed(
        "an adapter of a full fine-tuning",
        resource(method={"full": {}}, output={"persistentVolumeClaim": {"claimName": "models"}, "export": ["adapter"]}),
        ("spec", "output.export: adapter needs method.lora or method.osf; with method.full export merged"),
    ),
    Malformed(
        "answers measured where there are none",
        resource(task="language-modeling", evaluation={"metrics": ["perplexity", "bleu"]}),
        ("spec", "evaluation.metrics: task language-modeling has perplexity, bitsPerByte and maskedLoss; remove the others"),
    ),
    Malformed(
        "early stopping by a metric that the task does not have",
        resource(task="language-modeling", regularization={"earlyStopping": {"metric": "bleu"}}),
        ("spec", "regularization.earlyStopping.metric: task language-modeling has perplexity, bitsPerByte and maskedLoss"),
    ),
    Malformed(
        "a pull to a base that full fine-tuning does not keep",
        resource(method={"full": {}}, regularization={"baseKlWeight": 0.1}),
        ("spec", "regularization.baseKlWeight: the base model is the one without its adapters, so it needs method.lora"),
    ),
    Malformed(
        "a pull to a base that weak directions leave",
        resource(method={"osf": {}}, regularization={"baseKlWeight": 0.1}),
        ("spec", "set it to 0 with method.full and with method.osf, where it was not tried"),
    ),
    Malformed(
        "two passes of a task that writes",
        resource(regularization={"rDropAlpha": 1}),
        ("spec", "regularization.rDropAlpha: only for question-answering and text-classification by an encoder; set it to 0"),
    ),
    Malformed(
        "noise below zero",
        resource(regularization={"neftuneNoiseAlpha": -5}),
        ("spec.regularization.neftuneNoiseAlpha", "greater than or equal to 0"),
    ),
    Malformed(
        "the best weights by a metric that the task does not have",
        resource(task="language-modeling", evaluation={"bestMetric": "bleu"}),
        ("spec", "evaluation.bestMetric: task language-modeling has perplexity, bitsPerByte and maskedLoss"),
    ),
    Malformed(
        "a figure of training as a metric",
        resource(evaluation={"metrics": ["trainLoss"]}),
        ("spec.evaluation.metrics[0]", "perplexity", "wer"),
    ),
    Malformed(
        "a batch that ranks cannot share",
        resource(training={"epochs": 1, "globalBatchSize": 10}, distributed={"workers": 2}, resources={"gpus": 2}),
        ("spec", "training.globalBatchSize: must be a multiple of the number of ranks, distributed.workers x max(1, resources.gpus)"),
    ),
    Malformed(
        "CPUs that are none",
        resource(resources={"cpu": "many"}),
        ("spec.resources", 'resources.cpu: give CPUs above zero, such as "4", "0.5" or "500m"'),
    ),
    Malformed(
        "no memory at all", resource(resources={"memory": "0"}), ("spec.resources", "resources.memory: give an amount with its unit")
    ),
    Malformed("a number for CPUs", resource(resources={"cpu": 4}), ("spec.resources.cpu", "must be of type string")),
    Malformed(
        "an operation that is two",
        resource(augmentation={"operations": [{"wordDropout": {}, "wordSwap": {}}]}),
        ("spec.augmentation.operations[0]", "augmentation.operations: give exactly one of"),
    ),
    Malformed(
        "a part that is measured twice",
        resource(evaluation={"ablations": ["data", "data"]}),
        ("spec.evaluation", "evaluation.ablations: name each part once"),
    ),
    Malformed("a part that no job has", resource(evaluation={"ablations": ["luck"]}), ("spec.evaluation.ablations[0]", "earlyStopping")),
    Malformed("no row to learn", resource(data={"train": TRAIN, "maxTrainRows": 0}), ("spec.data.maxTrainRows", "1")),
    Malformed(
        "copies beside a share",
        resource(augmentation={"operations": [{"wordSwap": {}}], "augmentedShare": 0.5, "copiesPerRow": 2}),
        ("spec.augmentation", "augmentation: give only one of augmentedShare, copiesPerRow"),
    ),
    Malformed(
        "a protected phrase without words",
        resource(augmentation={"operations": [{"wordSwap": {}}], "protected": [" "]}),
        ("spec.augmentation.protected[0]", "\\S"),
    ),
    Malformed(
        "more copies than there may be",
        resource(augmentation={"operations": [{"wordSwap": {}}], "copiesPerRow": 17}),
        ("spec.augmentation.copiesPerRow", "16"),
    ),
    Malformed(
        "a prompt without the text",
        resource(augmentation={"operations": [{"paraphrase": {"model": {"name": "a/b"}, "prompt": "Say it again."}}]}),
        ("spec.augmentation.operations[0].paraphrase", "paraphrase.prompt: has no {text}"),
    ),
    Malformed(
        "a writer of random weights",
        resource(augmentation={"operations": [{"paraphrase": {"model": {"name": "a/b", "initialization": "random"}}}]}),
        ("spec.augmentation.operations[0].paraphrase", "model.initialization: a model with random weights writes nothing"),
    ),
    Malformed(
        "a token for a model that writes",
        resource(augmentation={"operations": [{"paraphrase": {"model": {"name": "a/b", "tokenSecret": {"name": "a", "key": "b"}}}}]}),
        ("spec.augmentation.operations[0].paraphrase", "model.tokenSecret: the token of spec.model.tokenSecret is used"),
    ),
    Malformed("more attempts than any job has", resource(runPolicy={"maxAttempts": 1000}), ("spec.runPolicy.maxAttempts", "100")),
    Malformed("a stall that is none", resource(runPolicy={"stallTimeoutSeconds": 60}), ("spec.runPolicy.stallTimeoutSeconds", "300")),
    Malformed("no time at all", resource(runPolicy={"activeDeadlineSeconds": 0}), ("spec.runPolicy.activeDeadlineSeconds", "1")),
    Malformed("a manager that is no path", resource(runPolicy={"managedBy": "us"}), ("spec.runPolicy.managedBy",)),
    Malformed(
        "a rule that names nothing",
        resource(runPolicy={"failureRules": [{"action": "Retry"}]}),
        ("spec.runPolicy.failureRules[0]", "failureRules: give exitCodes, podReasons, reasons or messagePattern"),
    ),
    *(
        Malformed(
            f"a pattern such as {pattern}",
            resource(runPolicy={"failureRules": [{"action": "Fail", "messagePattern": pattern}]}),
            ("spec.runPolicy.failureRules[0]", "failureRules.messagePattern: not a regular expression that is supported"),
        )
        for pattern in ("a{9}", "(?i)cuda", r"\bword", r"\x41", "[[:alpha:]]", "(a", "a)", "[a", "a**", "*a", "[z-a]", "a\\", r"\é")
    ),
    Malformed(
        "a toleration of nothing",
        resource(resources={"tolerations": [{"effect": "NoSchedule"}]}),
        ("spec.resources.tolerations[0]", "tolerations: give a key, or operator Exists"),
    ),
    Malformed(
        "the model of a job of another namespace",
        resource(model={"fineTuneJob": {"name": "team-b/first"}}),
        ("spec.model.fineTuneJob.name", "should match"),
    ),
    Malformed(
        "the model of an earlier job at a revision",
        resource(model={"fineTuneJob": {"name": "first"}, "revision": "main"}),
        ("spec.model", "model.revision: only a model with a name has one"),
    ),
    Malformed(
        "random weights in place of an earlier job's",
        resource(model={"fineTuneJob": {"name": "first"}, "initialization": "random"}, method={"full": {}}),
        ("spec.model", "model.initialization: the model of an earlier job is begun with for its weights"),
    ),
    Malformed("a continued job without a name", resource(continueFrom={}), ("spec.continueFrom.fineTuneJob", "Required value")),
    Malformed(
        "the model of the job itself",
        resource(model={"fineTuneJob": {"name": "bot"}}),
        ("model.fineTuneJob.name: a job cannot start from itself; name an earlier job",),
        by_name=True,
    ),
    Malformed(
        "a job that continues itself",
        resource(continueFrom={"fineTuneJob": "bot"}),
        ("continueFrom.fineTuneJob: a job cannot start from itself; name an earlier job",),
        by_name=True,
    ),
    Malformed("a name that is too long", resource("b" * 41), ("metadata.name: use at most 40 characters",), by_name=True),
    Malformed("a name with a dot", resource("my.bot"), ("metadata.name: use lower-case letters, digits and '-' only",), by_name=True),
    Malformed("a name that begins with a digit", resource("1bot"), ("metadata.name:", "beginning with a letter"), by_name=True),
]
