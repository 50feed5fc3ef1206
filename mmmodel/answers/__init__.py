"""The questions and their answers: sizes, verdicts, performance, uncertainty, advice, many points at once, figures and tables."""
