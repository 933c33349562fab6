"""`make gpu`: what needs a CUDA device, tested and measured within 8 minutes, without a network and without Ray."""
