"""Builders of the objects that an attempt is made of, from the job and the operator's settings: pure, one file per kind."""
