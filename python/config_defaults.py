"""Writes importers/src/config/decoder/defaults.json: what the classes of transformers take where a config
says nothing, for the fields that the readers of decoders ask for. Run from the repository with transformers."""
import dataclasses, json, pathlib, re
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

ROOM = pathlib.Path("importers/src/config/decoder")
TEXT = "".join(path.read_text() for path in sorted(ROOM.glob("*.rs"))) + ROOM.with_suffix(".rs").read_text()
WORDS = set(re.findall(r'"([A-Za-z_0-9.-]+)"', TEXT))
SKIPPED = {"dtype", "is_encoder_decoder", "architectures", "torch_dtype", "num_labels"}

def plain(value):
    return list(map(plain, value)) if isinstance(value, (list, tuple)) else value

def of(kind):
    fields = {}
    for field in dataclasses.fields(kind):
        has = field.default is not dataclasses.MISSING
        name = kind.attribute_map.get(field.name, field.name)
        if name in WORDS - SKIPPED:
            fields[name] = plain(field.default if has else field.default_factory())
    return {"names": dict(kind.attribute_map), "fields": fields}

rows = {name: of(CONFIG_MAPPING[name]) for name in sorted(WORDS) if name in CONFIG_MAPPING}
lines = (f"{json.dumps(name)}:{json.dumps(row, separators=(',', ':'))}" for name, row in rows.items())
(ROOM / "defaults.json").write_text("{" + ",\n".join(lines) + "}\n")
