"""What every section of the configuration is: values that stay as they are, under keys that are known."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A section of the configuration; a key that it does not have is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=False)
