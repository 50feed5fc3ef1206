"""Facts of a Linux machine, live or recorded. The ground floor: plain Python, imports no model code.

`host.load_host("host")` reads this machine, `load_host("x86-24g")` a recorded one. `watermarks` holds the page allocator's
arithmetic and its rules by kernel version; `zoneinfo` and its neighbours read one file format each, `btf` reads structure sizes,
`record` writes down what a survey reads. Each name is imported from the module that has it: who sizes a stack needs no reader of logs.
"""
