"""The objects that an attempt is made of, built from the job and the operator's settings; pure, one file per kind."""
