"""Run the benchmarks named on the command line, or all of them."""

import importlib
import pkgutil
import sys

from tests import benchmarks


def main(wanted: list[str]) -> int:
    names = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_"))
    unknown = [name for name in wanted if name not in names]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(names)}", file=sys.stderr)
        return 2
    for name in wanted or names:
        print(f"== {name}", flush=True)
        importlib.import_module(f"{benchmarks.__name__}.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
