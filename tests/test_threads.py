"""Many threads, interrupts, and bounds on threads: values stay right and nothing waits forever."""

from __future__ import annotations

import signal

import pytest

from tests.support.programs import run

# Threads.


def test_threads_with_one_generator():
    """Together the fills hold each block of the stream once: the rows of eight numbers, two blocks, are those of one fill."""
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
        assert generator.position == 2 * len(rows)
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
                for_each(fail, range(2))
            except MemoryError:
                continue
            raise AssertionError("the error is lost")
    """)


def test_an_error_of_the_caller_ends_the_work_of_helpers():
    """They end the item that each is at, and take no more."""
    run("""
        from gpuinit._backends.threads import for_each
        begun, taken = threading.Event(), []

        def work(items):
            for item in items:
                taken.append(item)
                if threading.current_thread() is threading.main_thread():
                    assert begun.wait(30)
                    raise KeyboardInterrupt
                begun.set()
                time.sleep(0.01)

        gi.set_num_threads(3)
        try:
            for_each(work, range(1000))
        except KeyboardInterrupt:
            assert len(taken) < 300, len(taken)
        else:
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
                calls += 1
                if calls == number:
                    raise Interrupt

            gi.set_num_threads(1)
            while helpers():  # all are to start again
                time.sleep(0.001)
            gi.set_num_threads(4)
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
        assert number > 50, number
        assert len(helpers()) <= 3, helpers()
    """)


needs_timers = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no interval timers")


@needs_timers
@pytest.mark.parametrize("interrupts", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_no_write_after_an_interrupt(interrupts):
    """A fill that a signal ends with an exception waits for its helpers first; more signals do not change that."""
    run(
        """
        import signal

        class Interrupt(BaseException):
            pass

        def interrupt(_, frame):
            signal.setitimer(signal.ITIMER_REAL, 1e-4)  # and again, while the fill ends
            while frame:
                if frame.f_code.co_filename.startswith(gi.__path__[0]):
                    raise Interrupt
                frame = frame.f_back

        fills = [
            lambda: gi.normal_(x),
            lambda: gi.sparse_(x, 0.5),
            lambda: gi.constant_(x, 0.1),
            lambda: gi.uniform_(x.T),
            lambda: gi.eye_(x),
        ]
        x = np.empty((640, 640))  # seven pieces
        gi.normal_(x)
        rng = np.random.default_rng(0)
        interrupted = number = 0
        signal.signal(signal.SIGALRM, interrupt)
        while interrupted < int(sys.argv[1]):
            number += 1
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 3e-3))
                fills[number % len(fills)]()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupt:
                returned = x.view(np.uint64).sum()
                signal.setitimer(signal.ITIMER_REAL, 0)
                time.sleep(0.001)
                assert x.view(np.uint64).sum() == returned, (number, interrupted)
                interrupted += 1
        assert len(helpers()) <= 3, helpers()
        """,
        str(interrupts),
    )


@needs_timers
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


@pytest.mark.parametrize(("fillers", "setters", "rounds"), [(12, 2, 20), pytest.param(64, 4, 150, marks=pytest.mark.slow)])
def test_set_num_threads_beside_fills(fillers, setters, rounds):
    """Helpers come and go all the time; none is left over, however the numbers of threads and of fills meet."""
    run(
        """
        fillers, setters, rounds = map(int, sys.argv[1:])
        done = threading.Event()
        expected = fill("normal_", {}, 300_000, 1).tobytes()
        wrong = []

        def change(k):
            while not done.is_set():
                k += 1
                gi.set_num_threads(k % 5 + 1)

        def work():
            for _ in range(rounds):
                if fill("normal_", {}, 300_000, 1).tobytes() != expected:
                    wrong.append(1)

        changing = [threading.Thread(target=change, args=(k,)) for k in range(setters)]
        for thread in changing:
            thread.start()
        run([threading.Thread(target=work) for _ in range(fillers)])
        done.set()
        for thread in changing:
            thread.join()
        assert not wrong
        for threads in (3, 1):
            gi.set_num_threads(threads)
            for _ in range(1000):
                if len(helpers()) < threads:
                    break
                time.sleep(0.01)
            assert len(helpers()) < threads, len(helpers())
        """,
        str(fillers),
        str(setters),
        str(rounds),
    )


@pytest.mark.parametrize("threads", [2, 5000])
def test_no_more_helpers_than_pieces(threads):
    run(
        """
        gi.set_num_threads(int(sys.argv[1]))
        gi.uniform_(np.empty((512, 512), np.float32))
        gi.uniform_(np.empty((512, 1024), np.float32)[:, ::2])
        gi.zeros_(np.empty(2**22, np.float32))
        gi.sparse_(np.empty((512, 512), np.float32), 0.5)
        assert len(helpers()) == 1, helpers()
        """,
        str(threads),
    )


@needs_timers
def test_a_signal_handler_that_fills_while_helpers_start():
    run("""
        import signal
        expected = fill("uniform_", {}, 4_500_000, 1).tobytes()
        handled = []

        def handle(*_):
            handled.append(fill("uniform_", {}, 4_500_000, 1).tobytes() == expected)

        signal.signal(signal.SIGALRM, handle)
        for delay in np.linspace(1e-4, 4e-3, 10):
            gi.set_num_threads(1)
            gi.set_num_threads(32)
            signal.setitimer(signal.ITIMER_REAL, delay)
            assert fill("uniform_", {}, 4_500_000, 1).tobytes() == expected
        while len(handled) < 10 and not time.sleep(0.01):
            pass
        assert all(handled)
    """)


def test_a_fill_imports_nothing():
    """A signal handler that fills would find a module half done."""
    run("""
        class Own(np.ndarray):
            pass

        before = set(sys.modules)
        digest()
        gi.orthogonal_(np.empty((3, 3)).view(Own))
        gi.eye_(np.empty((3, 3)))
        assert set(sys.modules) == before, set(sys.modules) - before
    """)


def test_without_fills_no_thread_is_started():
    run("""
        assert not helpers()
        fill("normal_", {}, 800, 1)
        gi.zeros_(np.empty(10))
        assert not helpers()
    """)
