"""Many threads, forked processes, the end of the interpreter, bounds on threads: values stay right and nothing waits forever.

Each program runs in a process of its own, with a time limit: what hangs there fails here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

LIMIT = 60  # seconds; the programs take about one

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")

# What the programs have in common: fills of some sizes, above and below what is cut into pieces for the helper threads.
PRELUDE = """
import hashlib, os, sys, threading, time
import numpy as np
import gpuinit as gi

SIZES = [1, 800, 70_000, 600_000]
FILLS = [
    ("uniform_", {"a": -1}),
    ("normal_", {}),
    ("trunc_normal_", {}),
    ("kaiming_normal_", {"nonlinearity": "relu"}),
    ("sparse_", {"sparsity": 0.3}),
]

def fill(name, arguments, size, generator, dtype=np.float32):
    x = np.empty((-(-size // 8), 8), dtype)
    return getattr(gi, name)(x, **arguments, generator=generator)

def digest(seed=3, dtype=np.float32):
    found = hashlib.sha256()
    for name, arguments in FILLS:
        for size in SIZES:
            found.update(fill(name, arguments, size, seed, dtype).tobytes())
    return found.hexdigest()

def run(threads):
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

def helpers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("gpuinit")]
"""


def run(program, *arguments, threads="4", options=("-W", "error")):
    """Output of a program that must end well, in time and in silence."""
    environment = {**os.environ, "GPUINIT_NUM_THREADS": threads}
    # Its own session, so that children that hang end with it.
    process = subprocess.Popen(
        [sys.executable, *options, "-c", PRELUDE + textwrap.dedent(program), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        pytest.fail(f"hangs; it wrote {output!r} and {errors!r}")
    assert process.returncode == 0, errors
    assert errors == ""
    return output


def forking(program, *arguments, **keywords):
    """Python 3.12 and later warn of each fork of a process that has threads; here that is the point."""
    return run(program, *arguments, options=("-W", "error", "-W", "ignore:This process:DeprecationWarning"), **keywords)


# Threads.


def test_threads_with_one_generator():
    """Together the fills hold each block of the stream once: the rows of eight numbers are those of one long fill."""
    run("""
        generator = gi.Generator(11)
        filled = [[] for _ in range(8)]

        def work(mine, k):
            rng = np.random.default_rng(k)
            for i in range(60):
                size = 600_000 if i == 5 * k else (8, 800, 8000)[rng.integers(3)]
                mine.append(fill("uniform_", {}, size, generator))

        run([threading.Thread(target=work, args=(mine, k)) for k, mine in enumerate(filled)])
        rows = np.concatenate([x for mine in filled for x in mine])
        assert generator.position == len(rows)
        expected = gi.uniform_(np.empty_like(rows), generator=11)
        assert np.array_equal(*(x[np.lexsort(x.T)] for x in (rows, expected)))
    """)


def test_threads_with_generators_of_their_own():
    run("""
        expected = {(k, i): fill(*FILLS[(k + i) % 5], SIZES[i % 4], k).tobytes() for k in range(8) for i in range(12)}
        wrong = []

        def work(k):
            for i in range(12):
                if fill(*FILLS[(k + i) % 5], SIZES[i % 4], gi.Generator(k)).tobytes() != expected[k, i]:
                    wrong.append((k, i))

        run([threading.Thread(target=work, args=(k,)) for k in range(8)])
        assert not wrong, wrong
    """)


def test_threads_with_numbered_children():
    """`spawn` from many threads gives each child once."""
    run("""
        parent, children = gi.Generator(5), []

        def work():
            for _ in range(200):
                children.extend(parent.spawn(2))

        run([threading.Thread(target=work) for _ in range(8)])
        keys = sorted(child.state["spawn_key"][0] for child in children)
        assert keys == list(range(3200))
    """)


def test_threads_that_change_the_number_of_threads():
    run("""
        expected, wrong, done = digest(), [], threading.Event()

        def change():
            k = 0
            while not done.is_set():
                gi.set_num_threads(k % 5 + 1)
                k += 1

        def work():
            for _ in range(2):
                if digest() != expected:
                    wrong.append(gi.get_num_threads())

        changer = threading.Thread(target=change)
        changer.start()
        run([threading.Thread(target=work) for _ in range(4)])
        done.set()
        changer.join()
        assert not wrong, wrong
    """)


def test_first_fills_of_all_threads_at_once():
    """Tables and threads are made at the first fill; here every thread's is the first."""
    run("""
        begin, found = threading.Barrier(8), []

        def work():
            begin.wait()
            found.append(fill("trunc_normal_", {}, 600_000, 1).tobytes())

        run([threading.Thread(target=work) for _ in range(8)])
        assert len(set(found)) == 1
        assert found[0] == fill("trunc_normal_", {}, 600_000, 1).tobytes()
    """)


def test_no_thread_can_be_started():
    """Where the system has no more threads to give, the caller works alone, and no helper goes on when it is through."""
    run("""
        expected = fill("normal_", {}, 600_000, 1).tobytes()
        gi.set_num_threads(6)
        start = threading.Thread.start
        for most in range(4):
            gi.set_num_threads(6)
            begun = []

            def limited(thread):
                if len(begun) == most:
                    raise RuntimeError("can't start new thread")
                begun.append(thread)
                start(thread)

            threading.Thread.start = limited
            for _ in range(20):
                x = fill("normal_", {}, 600_000, 1)
                copy = x.tobytes()
                x[...] = 7
                time.sleep(0.002)
                assert copy == expected
                assert (x == 7).all()
            threading.Thread.start = start
            fill("normal_", {}, 600_000, 1)
            assert threading.active_count() > 1
    """)


def test_an_error_of_a_helper_reaches_the_caller():
    """However slowly the helper ends: here each line that it runs of the module takes its time."""
    run("""
        from gpuinit._backends.threads import for_each

        def slow(frame, event, _):
            if not frame.f_code.co_filename.endswith("threads.py"):
                return None
            time.sleep(0.002)
            return slow

        def fail(_):
            if threading.current_thread() is threading.main_thread():
                taken.wait(5)
            else:
                taken.set()
                raise MemoryError

        threading.settrace(slow)
        gi.set_num_threads(2)
        for _ in range(10):
            taken = threading.Event()
            try:
                for_each(fail, range(2), 2)
            except MemoryError:
                continue
            raise AssertionError("the error is lost")
    """)


def test_an_interrupt_ends_a_fill_and_the_next_is_right():
    run("""
        import _thread
        expected = fill("normal_", {}, 4_000_000, 1).tobytes()
        interrupted = 0
        for delay in np.linspace(0.001, 0.03, 8):
            timer = threading.Timer(delay, _thread.interrupt_main)
            try:
                timer.start()
                fill("normal_", {}, 4_000_000, 1)
                timer.join()
                time.sleep(0.01)
            except KeyboardInterrupt:
                interrupted += 1
            timer.join()
            assert fill("normal_", {}, 4_000_000, 1).tobytes() == expected
        assert interrupted
    """)


def test_an_interrupt_at_any_call():
    """Python takes signals where functions begin: one is put at each such place in turn, from the start of the helpers on."""
    run("""
        expected = fill("uniform_", {}, 300_000, 1).tobytes()

        class Interrupt(BaseException):
            pass

        def interrupted_at(number):
            calls = 0

            def trace(frame, event, _):
                nonlocal calls
                if frame.f_back.f_code.co_filename.endswith("_backends/threads.py"):
                    calls += 1
                    if calls == number:
                        raise Interrupt

            gi.set_num_threads(4)  # with helpers that are yet to start
            sys.settrace(trace)
            try:
                fill("uniform_", {}, 300_000, 1)
            except Interrupt:
                return True
            finally:
                sys.settrace(None)
            return False

        number = 1
        while interrupted_at(number):
            assert fill("uniform_", {}, 300_000, 1).tobytes() == expected, number
            number += 1
        assert number > 10
    """)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no interval timers")
def test_a_signal_handler_that_fills():
    """It runs between any two steps of a fill by the same thread, whose own values stay right."""
    run("""
        import signal
        gi.set_num_threads(1)
        kinds = [("normal_", {}), ("trunc_normal_", {}), ("uniform_", {"a": -1}), ("sparse_", {"sparsity": 0.3})]
        expected = [fill(*kind, 100_000, 1, np.float16).tobytes() for kind in kinds]
        handled = 0

        def handle(*_):
            global handled
            handled += 1
            fill(*kinds[handled % 4], 800, 2, np.float16)
            if handled < 500:
                signal.setitimer(signal.ITIMER_REAL, 0.0003)

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0003)
        filled = []
        while handled < 500:
            filled.append([fill(*kind, 100_000, 1, np.float16).tobytes() for kind in kinds])
        wrong = [kinds[i][0] for row in filled for i in range(4) if row[i] != expected[i]]
        assert not wrong, wrong
    """)


# Forks.


@needs_fork
def test_a_fork_after_fills():
    """The child has none of the parent's helper threads; it makes its own."""
    forking("""
        expected = digest()
        position = gi.default_generator.position
        for _ in range(3):
            child = os.fork()
            if child == 0:
                right = digest() == expected and gi.get_num_threads() == 4 and 1 <= len(helpers()) <= 3
                os._exit(0 if right else 1)
            assert digest() == expected
            assert os.waitpid(child, 0)[1] == 0
    """)


@needs_fork
def test_a_fork_of_a_fork():
    forking("""
        expected = digest()
        child = os.fork()
        if child == 0:
            right = digest() == expected
            grandchild = os.fork()
            if grandchild == 0:
                os._exit(0 if digest() == expected else 1)
            os._exit(0 if right and os.waitpid(grandchild, 0)[1] == 0 else 1)
        assert os.waitpid(child, 0)[1] == 0
    """)


@needs_fork
@pytest.mark.parametrize("size", [8, 600_000], ids=["small", "large"])
def test_forks_while_other_threads_fill(size):
    """Whatever the other threads hold at that moment, the child can fill, from its copies of their generators too."""
    forking(
        """
        sys.setswitchinterval(1e-5)  # threads are stopped anywhere, often
        size = int(sys.argv[1])
        shared, done = gi.Generator(1), threading.Event()
        expected = fill("normal_", {}, size, 9).tobytes()

        def work():
            while not done.is_set():
                fill("uniform_", {}, size, shared)
                fill("normal_", {}, size, None)
                shared.spawn(1)
                gi.set_num_threads(4)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(int(sys.argv[2])):
            child = os.fork()
            if child == 0:
                right = True
                for generator in (shared, gi.default_generator):
                    start = gi.Generator(0)
                    start.state = generator.state
                    pair = [fill("trunc_normal_", {}, size, source).tobytes() for source in (generator, start)]
                    right &= pair[0] == pair[1]
                    right &= generator.state == start.state
                    generator.spawn(1)
                gi.set_num_threads(3)
                right &= fill("normal_", {}, size, 9).tobytes() == expected
                os._exit(0 if right else 1)
            assert os.waitpid(child, 0)[1] == 0
        done.set()
        for thread in threads:
            thread.join()
        """,
        str(size),
        "60" if size == 8 else "12",
    )


@needs_fork
def test_parent_and_child_have_the_same_stream():
    """As with any copy of a generator: a fork continues it twice."""
    forking("""
        gi.manual_seed(3)
        gi.uniform_(np.empty(8, np.float32))
        reader, writer = os.pipe()
        child = os.fork()
        values = gi.uniform_(np.empty(8, np.float32)).tobytes()
        if child == 0:
            os.write(writer, values)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert os.read(reader, 100) == values
    """)


@needs_fork
def test_multiprocessing_by_fork():
    forking("""
        import multiprocessing
        expected = digest()
        context = multiprocessing.get_context("fork")

        def work(queue, seed):
            queue.put(digest(seed))

        with context.Pool(3) as pool:
            assert pool.map(digest, [3] * 9) == [expected] * 9
        queue = context.SimpleQueue()
        processes = [context.Process(target=work, args=(queue, 3)) for _ in range(3)]
        for process in processes:
            process.start()
        assert [queue.get() for _ in processes] == [expected] * 3
        for process in processes:
            process.join()
            assert process.exitcode == 0
    """)


@needs_fork
def test_orthogonal_after_a_fork():
    forking("""
        expected = gi.orthogonal_(np.empty((300, 200)), generator=1)
        child = os.fork()
        if child == 0:
            os._exit(0 if np.allclose(gi.orthogonal_(np.empty((300, 200)), generator=1), expected, atol=1e-13) else 1)
        assert os.waitpid(child, 0)[1] == 0
    """)


# The end of the interpreter.


def test_fills_in_exit_handlers():
    """Helper threads may be gone by then."""
    output = run("""
        import atexit
        expected = digest()

        def last():
            print("right" if digest() == expected else "wrong")

        atexit.register(last)
        threading._register_atexit(last)
    """)
    assert output == "right\nright\n"


def test_the_first_fill_in_an_exit_handler():
    output = run("""
        import atexit

        def last():
            x = fill("normal_", {}, 600_000, 1)
            gi.set_num_threads(1)
            print("right" if x.tobytes() == fill("normal_", {}, 600_000, 1).tobytes() else "wrong")

        atexit.register(last)
    """)
    assert output == "right\n"


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.3])
def test_daemon_threads_that_fill_until_the_end(delay):
    run(
        """
        def work():
            while True:
                for name, arguments in FILLS:
                    fill(name, arguments, 600_000, None)

        for _ in range(3):
            threading.Thread(target=work, daemon=True).start()
        time.sleep(float(sys.argv[1]))
        """,
        str(delay),
    )


def test_a_thread_that_outlives_the_main_one():
    output = run("""
        expected = digest()

        def work():
            threading.main_thread().join()
            print("right" if digest() == expected else "wrong")

        threading.Thread(target=work).start()
    """)
    assert output == "right\n"


# Bounds.


@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_the_environment_bounds_the_threads(threads):
    output = run(
        """
        most, threads = 0, int(sys.argv[1])

        def watch():
            global most
            while not done.is_set():
                most = max(most, len(helpers()))
                time.sleep(0.0005)

        done = threading.Event()
        watcher = threading.Thread(target=watch)
        watcher.start()
        run([threading.Thread(target=digest, args=(k,)) for k in range(3)])
        done.set()
        watcher.join()
        assert gi.get_num_threads() == threads
        # The caller is one of them.
        assert (1 if threads > 1 else 0) <= most <= threads - 1, most
        print(digest(), digest(dtype=np.float64), digest(dtype=np.float16))
        """,
        threads,
        threads=threads,
    )
    assert output == run("print(digest(), digest(dtype=np.float64), digest(dtype=np.float16))", threads="3")


@pytest.mark.parametrize("setting", ["", "0", "-2", "1.5", "many", "\u00b2", " 2", "9" * 20], ids=ascii)
def test_settings_that_are_no_number_of_threads(setting):
    """They are ignored, as by OpenMP: the number is that of the cores. (A number beyond all need is one.)"""
    run(
        """
        assert digest()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        assert gi.get_num_threads() == cores or int(sys.argv[1]) == gi.get_num_threads() > 0
        """,
        setting,
        threads=setting,
    )


def test_set_num_threads_bounds_the_threads():
    """After a change, threads beyond the new number end by themselves."""
    run("""
        expected = digest()
        for threads in (5, 2, 1, 3, 8, 1):
            gi.set_num_threads(threads)
            assert gi.get_num_threads() == threads
            assert digest() == expected
            for _ in range(500):
                if len(helpers()) <= threads - 1:
                    break
                time.sleep(0.01)
            assert len(helpers()) <= threads - 1, (threads, helpers())
    """)


def test_without_fills_no_thread_is_started():
    run("""
        assert not helpers()
        fill("normal_", {}, 800, 1)
        gi.zeros_(np.empty(10))
        assert not helpers()
    """)
