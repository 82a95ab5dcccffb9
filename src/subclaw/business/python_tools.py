"""The functions of `tools/*.py`, as their source says. The files are parsed, never imported."""

import ast
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from subclaw.business.lines import wrong
from subclaw.business.toml import text_of

TOOLS = "tools"
"""The folder of Python files, in an agent's folder."""
TOOLS_LIMIT = 100

_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True)
class ToolFunction:
    """A public function at the top of a file: a tool. `line` counts from 1."""

    name: str
    path: str
    line: int
    node: ast.FunctionDef | ast.AsyncFunctionDef


def tool_functions(files: Mapping[str, bytes]) -> tuple[ToolFunction, ...]:
    """Return the tools of all files, in order. Errors: `Invalid`."""
    found: dict[str, ToolFunction] = {}
    for path in sorted(files):
        if not is_tools_path(path):
            continue
        before = len(found)
        for node in _public(_parsed(files, path)):
            tool = ToolFunction(name=node.name, path=path, line=node.lineno, node=node)
            _require_typed(tool)
            if other := found.get(tool.name):
                problem = f"{tool.name} is in {other.path}:{other.line}, too."
                raise wrong(path, tool.line, problem, "Give one of the two another name.")
            found[tool.name] = tool
            if len(found) > TOOLS_LIMIT:
                raise wrong(
                    path, tool.line, f"There are more than {TOOLS_LIMIT} tools.", "Make two agents of this one."
                )
        if len(found) == before and not path.endswith("/__init__.py"):
            problem = "There is no tool in this file."
            raise wrong(path, 1, problem, "Define a function whose name does not begin with _, or remove the file.")
    return tuple(found.values())


def is_tools_path(path: str) -> bool:
    """Say whether a path of an agent's folder is of a Python file with tools."""
    return path.startswith(f"{TOOLS}/") and path.count("/") == 1 and path.endswith(".py")


def _parsed(files: Mapping[str, bytes], path: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what newer Pythons will mind is for whoever runs the file to say
            return ast.parse(text_of(files, path), path)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = (error.lineno or 1) if isinstance(error, SyntaxError) else 1
        problem = error.msg if isinstance(error, SyntaxError) else "it cannot be parsed"
        raise wrong(path, line, f"This is not Python: {problem}.", "Correct that line.") from error


def _public(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in module.body:
        if isinstance(node, _FUNCTION) and not node.name.startswith("_"):
            yield node


def _require_typed(tool: ToolFunction) -> None:
    arguments = tool.node.args
    for every in (arguments.vararg, arguments.kwarg):
        if every:
            problem = f"{tool.name} takes *{every.arg}, of which a model cannot be told."
            raise wrong(tool.path, every.lineno, problem, "Name each parameter.")
    for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        if one.annotation is None:
            problem = f"The parameter {one.arg} of {tool.name} has no type."
            raise wrong(tool.path, one.lineno, problem, f"Write one, such as `{one.arg}: str`.")
    if not ast.get_docstring(tool.node):
        problem = f"{tool.name} has no docstring."
        raise wrong(tool.path, tool.line, problem, "Say in one what the tool is for: the model goes by that.")
