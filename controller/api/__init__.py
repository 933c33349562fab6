"""The FineTuneJob resource as pydantic models, the only source of its schema. No client code here."""
