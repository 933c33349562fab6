"""Uses a model: answers prompts, talks, measures. One process, without Ray and without an optimizer. Tests: tests/trainer/using/."""
