"""Models and data sets of the Hugging Face hub, in bounded time and with clear errors."""
