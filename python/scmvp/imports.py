"""Imports that an interrupt does not break.

A large compiled package whose import was interrupted cannot be imported again in that process:
NumPy refuses it, PyTorch and SymPy are left with parts missing. R runs the text of this module
before anything of the package is imported, so the function has all it needs inside.
"""


def undisturbed(*names: str) -> None:
    """Import modules; an interrupt waits until they are there.

    Python handles signals in its main thread alone, so another one imports and is waited for.
    """
    import importlib
    import sys
    import threading

    missing = [name for name in names if sys.modules.get(name) is None]
    if not missing:
        return
    done, failures, interrupt = threading.Event(), [], None

    def load():
        try:
            for name in missing:
                importlib.import_module(name)
        except BaseException as error:  # noqa: B902 - raised again by who waits
            failures.append(error)
        done.set()

    threading.Thread(target=load, daemon=True).start()
    while True:
        try:
            done.wait()
            break
        except KeyboardInterrupt as stop:
            interrupt = stop
    if interrupt is not None:
        raise interrupt
    if failures:
        raise failures[0]
