"""Job files of which kubectl with the API server, and `finetune`, must think the same: each is taken by both or by neither."""

from finetune.api.earlierjobs import NAME_MAX_LENGTH

JOB = """\
apiVersion: finetune.dev/v1alpha1
kind: FineTuneJob
metadata:
  name: bot
spec:
  task: chat
  model: {name: org/model}
  data: {train: [{path: a.jsonl}]}
  method: {lora: {}}
  training: {epochs: 1}
  output: {persistentVolumeClaim: {claimName: models}}
"""
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: rows}\n"
LIST = "apiVersion: v1\nkind: List\nitems:\n"


def _cases(text: str) -> list[str]:
    """Take a list apart that is written with dots between its entries."""
    return [case.strip() for case in text.replace("\n", " ").split(" · ")]


def _lines_of(text: str) -> list[str]:
    """Take a list apart that is written with an entry in each line; `…` stands for a name in front of a field of metadata."""
    return [line.replace("… ", "name: bot\n  ") for line in text.strip().split("\n")]


def _lines(**lines: str) -> str:
    """Return the job with the lines that begin with these keys replaced; an empty text takes a line away."""
    text = JOB
    for key, line in lines.items():
        start = text.index(f"  {key}:")
        end = text.index("\n", start) + 1
        text = text[:start] + (f"  {line}\n" if line else "") + text[end:]
    return text


def training(fields: str) -> str:
    return _lines(training=f"training: {{{fields}}}")


def metadata(fields: str) -> str:
    return _lines(name=fields)


def columns(fields: str) -> str:
    return _lines(data=f"data: {{train: [{{path: a.jsonl, columns: {{{fields}}}}}]}}")


def section(line: str) -> str:
    return JOB + f"  {line}\n"


def _entry(text: str) -> str:
    """Return `text` as an entry of a list."""
    return "- " + "".join(f"  {line}\n" for line in text.splitlines())[2:]


NUMBERS = _cases(r"""
1e3 · 1_00 · 0x10 · 0o17 · 012 · 08 · 0b11 · 1.0 · 2. · +1 · 1e2 · 1.5e1 · 1.5 · -0 · 0 · -1 · "3" · !!str 3 · !!int 3 · !!float 3
· 3a · 1e400 · 9007199254740993 · 9223372036854775807 · 9223372036854775808 · 1e20 · 1e30 · yes · ~ ·  · .inf · .nan · 1:30 ·
1,000 · 2026-01-01 · [1] · {a: 1} · 1e-4 · 0.1e2 · 1__0 · 1e3_0
""")
FRACTIONS = _cases(r"""
.5 · 1e-4 · 2e-4 · 2.0e-4 · 1E-4 · 5e-1 · 1 · 0 · -0.0 · 1.0 · 1_0e-4 · +.5 · 0x1 · '1e-4' · 1e-400 · ~ · .inf · .NaN · -.inf · on
· 0.0_1 · 1/2 · 5%
""")
TEXTS = _cases(r"""
on · off · yes · no · y · n · true · ~ · null · Null · nUll · 1 · 1.0 · 1e3 · 0x10 · 2026-01-01 · 12:30 · 'on' · "" · prompt ·
!!str on · | · é · 'a      b' · [a] · {a: b} · = · 1_000 · 0o8 · .5a · 1e400 · !x y
""")
FLAGS = _cases(r"""
true · True · yes · on · y · N · off · 1 · 0 · 'true' · ~ · tRue · TRUE
""")
WORDS = _cases(r"""
true · off · auto · always · never · 'true' · ~ · Auto
""")
LABELS = _lines_of(r"""
{}
~
{team: a}
{team: 'data science'}
{'bad key!': x}
{version: 1.0}
{version: '1.0'}
{a: on}
{a: 'on'}
{a: }
{a: ''}
{1: a}
{on: a}
{a/b: c}
{A/b: c}
{a.b/c: d}
{a/b/c: d}
{/b: c}
{a/: c}
{'': c}
{-a: c}
{a-: c}
{a: -c}
{a: c_}
{a: 'é'}
{é: a}
[a]
a
{a: [b]}
{a: {b: c}}
{a: 'x/y'}
{a: 'x:y'}
{a: ~}
{kueue.x-k8s.io/queue-name: team-a}
{a..b/c: d}
{A_b.c-D: E_f.g-H}
{a: 2026-01-01}
{a: 0123}
{a: 1e3}
{a: "b\n"}
{"a\n": b}
{a: ' b'}
""")
LABELS += [
    *(f"{{a: {'x' * length}}}" for length in (63, 64)),
    *(f"{{{'x' * length}: a}}" for length in (63, 64)),
    *(f"{{{'a.' * labels}a/x: b}}" for labels in (126, 127)),
    f"{{{'a' * 64}.b/x: c}}",
]
ANNOTATIONS = _lines_of(r"""
{}
~
{a: 'any text: 1!'}
{A/b: c}
{'bad key!': x}
{a: 1}
{a: true}
{a: ~}
{a: [b]}
[a]
{a: ''}
{É: x}
""")
ANNOTATIONS += [
    *(f"{{a: {'x' * length}}}" for length in (256 * 1024 - 1, 256 * 1024)),
    f"{{a: {'é' * 128 * 1024}}}",
    f"{{{'x' * 64}: a}}",
]
METADATA = _lines_of(r"""
name: bot
name: 'bot'
name: Bot
name: my.bot
name: 1bot
name: bot-
name: -bot
name: b
name: bot_1
name: ''
name: ~
name: 12
name: on
name: [a]
name: 'bot '
name: "bot\n"
name: böt
namee: bot
… namespace: default
… namespace: ''
… namespace: ~
… namespace: Default
… namespace: a_b
… namespace: 1
… label: {a: b}
… finalizers: []
… finalizers: [a.b/c]
… finalizers: [plain]
… finalizers: ['bad one']
… finalizers: a
… finalizers: ~
… finalizers: [1]
… finalizers: [~]
… finalizers: [orphan, foregroundDeletion]
… ownerReferences: []
… ownerReferences: [{apiVersion: v1, kind: Pod, name: a, uid: b}]
… ownerReferences: [{apiVersion: v1, kind: Pod, name: a}]
… ownerReferences: [{apiVersion: v1, kind: Pod, name: a, uid: b, controler: true}]
… ownerReferences: [{apiVersion: v1, kind: Pod, name: a, uid: 1}]
… ownerReferences: [{apiVersion: a/b/c, kind: Pod, name: a, uid: b}]
… ownerReferences: [{apiVersion: v1, kind: Event, name: a, uid: b}]
… ownerReferences: [&a {apiVersion: v1, kind: Pod, name: a, uid: b, controller: true}, {<<: *a, uid: d}]
… ownerReferences: {a: b}
… ownerReferences: [~]
… ownerReferences: [{apiVersion: v1, kind: Pod, name: a, uid: b, controller: 'true'}]
… creationTimestamp: ~
… creationTimestamp: 2026-01-01T00:00:00Z
… creationTimestamp: yesterday
… creationTimestamp: 5
… creationTimestamp: 2026-01-01
… creationTimestamp: '2026-01-01T00:00:00+02:00'
… creationTimestamp: '2026-01-01 00:00:00Z'
… creationTimestamp: ''
… generation: 3
… generation: '3'
… generation: 1.5
… generation: -1
… selfLink: /a
… deletionTimestamp: 2026-01-01T00:00:00Z
… deletionGracePeriodSeconds: 3
… clusterName: a
… uid: 3
… <<: {labels: {a: b}}
… resourceVersion: 3
… uid: ab
… resourceVersion: '3'
… managedFields: []
… managedFields: [{manager: a}]
… managedFields: 3
""")
METADATA += [f"name: {'b' * length}" for length in (NAME_MAX_LENGTH, NAME_MAX_LENGTH + 1, 254)]
STATUS = _cases(r"""
{} · ~ · {phase: Running} · {phase: 5} · {fase: 1} · text · [] · {attempts: 5} · {progress: {unknown: 1}} · {observedGeneration:
1}
""")
SPECS = {
    "label of a node that is nothing": section("resources: {nodeSelector: {a: ~}}"),
    "label of a node that is a number": section("resources: {nodeSelector: {zone: 1}}"),
    "key of a node selector that is a number": section("resources: {nodeSelector: {1: a}}"),
    "bad key of a node selector": section("resources: {nodeSelector: {'a b': c}}"),
    "toleration that is nothing": section("resources: {tolerations: [~]}"),
    "toleration of a huge time": section("resources: {tolerations: [{key: a, effect: NoExecute, tolerationSeconds: 1e19}]}"),
    "toleration of a large time": section("resources: {tolerations: [{key: a, effect: NoExecute, tolerationSeconds: 9e18}]}"),
    "toleration of an odd time": section("resources: {tolerations: [{key: a, effect: NoExecute, tolerationSeconds: 1.5}]}"),
    "cpu as a number": section("resources: {cpu: 4}"),
    "cpu with a line break": section('resources: {cpu: "4\\n"}'),
    "memory with a line break": section('resources: {memory: "4Gi\\n"}'),
    "key of a node selector with a line break": section('resources: {nodeSelector: {"a\\n": c}}'),
    "value of a node selector with a line break": section('resources: {nodeSelector: {a: "c\\n"}}'),
    "cpu in millis": section("resources: {cpu: 500m}"),
    "memory as a number": section("resources: {memory: 1e9}"),
    "section that is nothing": section("resources: ~"),
    "section that is empty": section("evaluation:"),
    "section that is empty braces": section("evaluation: {}"),
    "section that is a text": section("evaluation: all"),
    "section that is a list": section("evaluation: [perplexity]"),
    "section twice, once as nothing": section("resources: {cpu: ~, gpus: ~}"),
    "list that is nothing": section("evaluation: {metrics: ~}"),
    "list with a hole": section("evaluation: {metrics: [~]}"),
    "list that is a text": section("evaluation: {metrics: perplexity}"),
    "list that is empty": section("evaluation: {metrics: []}"),
    "unknown metric": section("evaluation: {metrics: [accuracy]}"),
    "metric in capitals": section("evaluation: {metrics: [BLEU]}"),
    "unknown field of nothing": section("unknown: ~"),
    "unknown field deep down of nothing": training("epochs: 1, unknown: ~"),
    "field in snake case": training("epochs: 1, learning_rate: 0.1"),
    "field with another case": training("epochs: 1, LearningRate: 0.1"),
    "stage as a text": section("distributed: {deepspeed: {zeroStage: '2'}}"),
    "stage as a float": section("distributed: {deepspeed: {zeroStage: 2.0}}"),
    "stage in octal": section("distributed: {deepspeed: {zeroStage: 02}}"),
    "stage that does not exist": section("distributed: {deepspeed: {zeroStage: 5}}"),
    "stage that is nothing": section("distributed: {deepspeed: {zeroStage: ~}}"),
    "task that is nothing": _lines(task="task:"),
    "task of another name": _lines(task="task: classification"),
    "task left out": _lines(task=""),
    "method that is nothing": _lines(method="method:"),
    "method without a choice": _lines(method="method: {}"),
    "lora of nothing": _lines(method="method: {lora: }"),
    "full of nothing": _lines(method="method: {full: }"),
    "full of braces": _lines(method="method: {full: {}}"),
    "both methods, one of nothing": _lines(method="method: {lora: {}, full: ~}"),
    "export of an adapter with full": _lines(
        method="method: {full: {}}", output="output: {persistentVolumeClaim: {claimName: a}, export: [adapter]}"
    ),
    "export that is nothing": _lines(output="output: {persistentVolumeClaim: {claimName: a}, export: ~}"),
    "export twice": _lines(output="output: {persistentVolumeClaim: {claimName: a}, export: [adapter, adapter]}"),
    "name of a claim in capitals": _lines(output="output: {persistentVolumeClaim: {claimName: Models}}"),
    "name of a claim that is a number": _lines(output="output: {persistentVolumeClaim: {claimName: 12}}"),
    "name of a claim with a line break": _lines(output='output: {persistentVolumeClaim: {claimName: "a\\n"}}'),
    "path of a claim upwards": _lines(output="output: {persistentVolumeClaim: {claimName: a, path: ../b}}"),
    "path of a claim from the root": _lines(output="output: {persistentVolumeClaim: {claimName: a, path: /b}}"),
    "path of a claim upwards with a line break": _lines(output='output: {persistentVolumeClaim: {claimName: a, path: "..\\n"}}'),
    "model name as an address": _lines(model="model: {name: https://hub/org/model}"),
    "model name with a line break": _lines(model='model: {name: "org/model\\n"}'),
    "model name that is a number": _lines(model="model: {name: 7}"),
    "model revision that is a number": _lines(model="model: {name: a/b, revision: 1234567}"),
    "model revision that looks like a number": _lines(model="model: {name: a/b, revision: 1e10}"),
    "model revision in hexadecimal digits": _lines(model="model: {name: a/b, revision: 7ae557604adf67be50417f59c2c2f167def9a775}"),
    "model revision with an empty text": _lines(model="model: {name: a/b, revision: ''}"),
    "two models, one of nothing": _lines(model="model: {name: a/b, path: ~}"),
    "rows that are nothing": _lines(data="data: {train: ~}"),
    "rows that are no list": _lines(data="data: {train: {path: a.jsonl}}"),
    "source of nothing": _lines(data="data: {train: [~]}"),
    "validation in percent": _lines(data="data: {train: [{path: a}], validationFraction: 10%}"),
    "validation of ten": _lines(data="data: {train: [{path: a}], validationFraction: 10}"),
    "validation as a fraction": _lines(data="data: {train: [{path: a}], validationFraction: 1e-1}"),
    "split that is a list": _lines(data="data: {train: [{huggingFace: {name: a/b, split: [train]}}]}"),
    "alpha as a float": _lines(method="method: {lora: {rank: 8, alpha: 16.0}}"),
    "rank as a float": _lines(method="method: {lora: {rank: 8.0}}"),
    "rank as half a number": _lines(method="method: {lora: {rank: 8.5}}"),
    "modules as a text": _lines(method="method: {lora: {targetModules: all-linear}}"),
    "modules with a number": _lines(method="method: {lora: {targetModules: [1]}}"),
    "long text in its limit": columns(f"prompt: {'é' * 256}"),
    "long text over its limit": columns(f"prompt: {'é' * 257}"),
    "emoji in its limit": columns(f"prompt: '{'😀' * 256}'"),
    "suspended": section("runPolicy: {suspend: yes}"),
    "suspended as a text": section("runPolicy: {suspend: 'yes'}"),
    "attempts as a float": section("runPolicy: {maxAttempts: 3.0}"),
    "no spec": JOB[: JOB.index("spec:")],
    "spec of nothing": JOB[: JOB.index("spec:")] + "spec:\n",
    "spec of a text": JOB[: JOB.index("spec:")] + "spec: chat\n",
    "spec of a list": JOB[: JOB.index("spec:")] + "spec: []\n",
    "spec of braces": JOB[: JOB.index("spec:")] + "spec: {}\n",
    "a batch that ranks cannot share": section("distributed: {workers: 3}"),
}
MERGES = {
    "merge of an alias": _lines(data="data:\n    train:\n    - &a {path: a.jsonl}\n    - <<: *a\n      columns: {prompt: q}"),
    "merge of a mapping": training("<<: {epochs: 1}"),
    "merge of a list": training("<<: [{epochs: 1}, {seed: 3}]"),
    "merge of a list where the first counts": training("<<: [{epochs: 1}, {epochs: -1}]"),
    "merge of a list where the first is bad": training("<<: [{epochs: -1}, {epochs: 1}]"),
    "merge above, which the key overrides": training("<<: {epochs: -1}, epochs: 1"),
    "merge below, which overrides the key": training("epochs: -1, <<: {epochs: 1}"),
    "merge below of what is bad": training("epochs: 1, <<: {epochs: -1}"),
    "two merges": training("<<: {epochs: 1}, <<: {seed: 2}"),
    "merge of an unknown field": training("<<: {epochs: 1, epoch: 3}"),
    "merge key in quotes": training('"<<": {epochs: 1}, epochs: 1'),
    "merge of a number": training("<<: 3, epochs: 1"),
    "merge of nothing": training("<<: , epochs: 1"),
    "merge of a list of numbers": training("<<: [3], epochs: 1"),
    "merge of a merge": training("<<: {<<: {epochs: 1}}"),
    "merge across the file": _lines(training="training: &t {epochs: 1}", method="method: {lora: {<<: *t}}"),
    "merge before its anchor": _lines(method="method: {lora: {<<: *t}}", training="training: &t {epochs: 1}"),
    "helper with anchors at the top": "x-defaults: &d {epochs: 1}\n" + _lines(training="training: *d"),
    "alias of a value": _lines(model="model: {name: &n a/b}", data="data: {train: [{huggingFace: {name: *n}}]}"),
    "alias of nothing": _lines(model="model: {name: *n}"),
    "alias of itself": _lines(model="model: &m {name: *m}"),
    "anchor twice": _lines(model="model: {name: &n a/b, revision: &n c}", data="data: {train: [{huggingFace: {name: *n}}]}"),
    "anchor of another document": f"---\na: &n 1\n---\n{_lines(model='model: {name: *n}')}",
    "laughs": JOB
    + "  x: &a [1,1,1,1,1,1,1,1,1]\n"
    + "".join(f"  {y}: &{y} [{','.join(['*' + x] * 9)}]\n" for x, y in zip("abcdefg", "bcdefgh", strict=True)),
}
JSON = """{"apiVersion": "finetune.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": "bot"}, "spec": {
\t"task": "chat", "model": {"name": "a/b"}, "data": {"train": [{"path": "a"}]}, "method": {"lora": {}},
\t"training": {"epochs": 1.0, "maxSequenceLength": 1e3}, "output": {"persistentVolumeClaim": {"claimName": "a"}}}}"""
FILES = {
    "the job": JOB,
    "crlf": JOB.replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + JOB,
    "utf-16": JOB.encode("utf-16"),
    "utf-16 without a mark": JOB.encode("utf-16-le"),
    "latin-1 in a comment": b"# f\xfcr alle\n" + JOB.encode(),
    "comment only": "# nothing\n",
    "nothing": "",
    "blank lines": "\n\n",
    "separator only": "---\n",
    "null": "~\n",
    "a text": "hello\n",
    "a list": "- a\n",
    "separators around": f"---\n---\n# c\n---\n{JOB}---\n...\n",
    "separator with a comment": f"--- # the job\n{JOB}",
    "separator with a document": f"--- {{}}\n---\n{JOB}",
    "separator of four dashes": f"----\n{JOB}",
    "directive": f"%YAML 1.1\n---\n{JOB}",
    "end mark": f"{JOB}...\n",
    "text after the end mark": f"{JOB}...\nfoo: [\n",
    "separator inside of a text": columns("prompt: 'a\n---\n    b'"),
    "tab before a value": JOB.replace("task: chat", "task:\tchat"),
    "tab behind a value": JOB.replace("task: chat", "task: chat\t"),
    "tab as indentation": JOB.replace("  task", "\ttask"),
    "tab in braces": training("\n\tepochs: 1"),
    "no blank after a colon": JOB.replace("task: chat", "task:chat"),
    "unclosed brace": JOB.replace("{epochs: 1}", "{epochs: 1"),
    "unclosed quote": JOB.replace("task: chat", "task: 'chat"),
    "colon in a text": JOB.replace("task: chat", "task: chat: more"),
    "star for a file": JOB.replace("path: a.jsonl", "path: *.jsonl"),
    "at sign": JOB.replace("path: a.jsonl", "path: @a"),
    "escape that is none": JOB.replace("path: a.jsonl", 'path: "a\\d"'),
    "escaped slash": JOB.replace("path: a.jsonl", 'path: "a\\/d"'),
    "control character": JOB.replace("a.jsonl", "a\x01"),
    "emoji": columns("prompt: 😀"),
    "apiVersion missing": JOB.replace("apiVersion: finetune.dev/v1alpha1\n", ""),
    "apiVersion of another version": JOB.replace("v1alpha1", "v1"),
    "apiVersion of another group": JOB.replace("finetune.dev", "finetune.io"),
    "apiVersion without a group": JOB.replace("finetune.dev/v1alpha1", "v1"),
    "apiVersion that is a number": JOB.replace("finetune.dev/v1alpha1", "1"),
    "kind missing": JOB.replace("kind: FineTuneJob\n", ""),
    "kind in lower case": JOB.replace("kind: FineTuneJob", "kind: finetunejob"),
    "kind that is a number": JOB.replace("kind: FineTuneJob", "kind: 3"),
    "kind with a blank": JOB.replace("kind: FineTuneJob", "kind: 'FineTuneJob '"),
    "no metadata": JOB.replace("metadata:\n  name: bot\n", ""),
    "metadata of nothing": JOB.replace("metadata:\n  name: bot\n", "metadata:\n"),
    "metadata of a text": JOB.replace("metadata:\n  name: bot\n", "metadata: bot\n"),
    "metadata of a list": JOB.replace("metadata:\n  name: bot\n", "metadata: [bot]\n"),
    "unknown field at the top": JOB + "specs: {}\n",
    "unknown field at the top of nothing": JOB + "specs:\n",
    "items beside a spec": JOB + "items: []\n",
    "list of the job": LIST + _entry(JOB),
    "list of the job and a ConfigMap": LIST + _entry(JOB) + _entry(CONFIG_MAP),
    "list of its own kind": "apiVersion: finetune.dev/v1alpha1\nkind: FineTuneJobList\nitems:\n" + _entry(JOB[JOB.index("metadata") :]),
    "list without a kind": "items:\n" + _entry(JOB),
    "list that is empty": "apiVersion: v1\nkind: List\nitems: []\n",
    "list in a list": LIST + _entry(LIST + _entry(JOB)),
    "document without a kind beside": f"{JOB}---\nfoo: 1\n",
    "document that is a text beside": f"{JOB}---\nfoo\n",
    "empty document beside": f"{JOB}---\n{{}}\n",
    "json": JSON,
}
FILES["json twice"] = JSON + "\n" + '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rows"}}'
FILES["json and yaml"] = JSON + "\n---\n" + CONFIG_MAP
FILES["json with a comma too much"] = JSON.replace('"chat"', '"chat",')
CONFIG_MAP_FIELDS = _lines_of(r"""
data: {}
data:
data: {a: b}
data: {a: 1}
data: {a: on}
data: {a: ~}
data: {a: [b]}
data: {y: b}
data: {1: b}
data: [a]
data: a
data: {..: b}
data: {..a: b}
data: {.: b}
data: {.a: b}
data: {'a b': c}
data: {a/b: c}
data: {'': c}
data: {"a\n": b}
binaryData: {a: aGFsbG8=}
binaryData: {a: '?'}
binaryData: {a: aGFsbG8}
binaryData: {a: "aGFs\nbG8="}
binaryData: {a: 'aGFs bG8='}
binaryData: {a: 1}
binaryData: {a: ~}
{data: {a: b}, binaryData: {a: aGFsbG8=}}
immutable: true
immutable: 'true'
spec: {}
dat: {}
""")
CONFIG_MAP_FIELDS += [f"data: {{{'a' * length}: b}}" for length in (253, 254)]
CONFIG_MAP_FIELDS += [f"data: {{a: {'x' * length}}}" for length in (1024 * 1024, 1024 * 1024 + 1)]
CONFIG_MAP_METADATA = _lines_of(r"""
{name: a.b}
{name: a..b}
{name: A}
{name: a_b}
{name: -a}
{name: 1}
{name: '1'}
{name: ''}
{}
~
a
{name: a, labels: {a: 'b c'}}
{name: a, lables: {}}
{name: a, annotations: {a: 1}}
{name: a, labels: {a: ~}}
""")
CONFIG_MAP_METADATA += [f"{{name: {'a' * length}}}" for length in (253, 254)]
CONFIG_MAPS = {
    **{
        f"ConfigMap with {text}": f"{JOB}---\n{CONFIG_MAP}<<: {text if text[0] == '{' else '{' + text + '}'}\n"
        for text in CONFIG_MAP_FIELDS
    },
    **{f"ConfigMap {text}": f"{JOB}---\n{CONFIG_MAP.replace('{name: rows}', text)}" for text in CONFIG_MAP_METADATA},
    "ConfigMap of another version": f"{JOB}---\n{CONFIG_MAP.replace('v1', 'v2')}",
}

KINDS_OF_CASES: dict[str, dict[str, str | bytes]] = {
    "whole numbers": {
        **{f"seed: {value}": training(f"epochs: 1, seed: {value}") for value in NUMBERS},
        **{f"maxSteps: {value}": training(f"maxSteps: {value}") for value in ("~", "1e3", "1_000", "0.5", "10.0")},
    },
    "numbers": {
        **{f"learningRate: {value}": training(f"epochs: 1, learningRate: {value}") for value in FRACTIONS},
        **{f"epochs: {value}": training(f"epochs: {value}") for value in ("~", "1e3", "0.5", "1e4", "three")},
    },
    "texts": {f"prompt: {value}": columns(f"prompt: {value}" if value != "|" else "prompt: '|'") for value in TEXTS},
    "flags": {f"groupByLength: {value}": training(f"epochs: 1, groupByLength: {value}") for value in FLAGS},
    "words": {f"gradientCheckpointing: {value}": training(f"epochs: 1, gradientCheckpointing: {value}") for value in WORDS},
    "labels": {value: metadata(f"name: bot\n  labels: {value}") for value in LABELS},
    "annotations": {value: metadata(f"name: bot\n  annotations: {value}") for value in ANNOTATIONS},
    "metadata": {value: metadata(value) for value in METADATA},
    "status": {value: JOB + f"status: {value}\n" for value in STATUS},
    "specs": dict(SPECS),
    "merges": dict(MERGES),
    "files": dict(FILES),
    "config maps": dict(CONFIG_MAPS),
}
