"""What may stand in a file that is applied? A JSON Schema, for editors."""

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from relay.apply.file import KEYS, MODELS, SECRETS

_ELSEWHERE: Final[dict[str, Any]] = {
    "oneOf": [
        {"type": "string", "minLength": 1},
        *(
            {"type": "object", "properties": {where: said}, "required": [where], "additionalProperties": False}
            for where, said in (
                ("env", {"type": "string", "minLength": 1, "description": "The name of an environment variable."}),
                ("file", {"type": "string", "minLength": 1, "description": "A path, from this file's folder."}),
            )
        ),
    ],
    "description": "Not shown by the API. {env: NAME} or {file: PATH} keep it out of this file.",
}


def file_schema() -> dict[str, Any]:
    """Give the JSON Schema (2020-12) of the YAML file."""
    _, schema = models_json_schema([(model, "validation") for model in MODELS.values()], ref_template="#/$defs/{model}")
    for kind, model in MODELS.items():
        own = schema["$defs"][model.__name__]
        own["required"] = sorted({*own["required"], KEYS[kind]})
        for name in SECRETS[kind]:
            said = own["properties"][name].get("description", "")
            if name == "headers":
                own["properties"][name] = {"type": "object", "additionalProperties": _ELSEWHERE, "description": said}
            else:
                own["properties"][name] = {**_ELSEWHERE, "description": f"{said} {_ELSEWHERE['description']}".strip()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What a relay looks at, and whom it tells",
        "type": "object",
        "properties": {
            kind: {"type": ["array", "null"], "items": {"$ref": f"#/$defs/{model.__name__}"}}
            for kind, model in MODELS.items()
        },
        "additionalProperties": False,
        "$defs": schema["$defs"],
    }
