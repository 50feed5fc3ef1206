"""A machine and its paths: survey, explain-hang, recordings of its memory, the kernel lab."""
