"""Forked processes and the end of the interpreter: values stay right and nothing waits forever."""

from __future__ import annotations

import os

import pytest

from tests.support.programs import forking, run

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")

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
def test_threads_of_a_child_fill():
    """The lock of the generators, held for the fork, is free again on both sides; the thread that forks would not notice."""
    forking("""
        def fills():
            filled = []
            thread = threading.Thread(target=lambda: filled.append(fill("uniform_", {}, 8, 1)), daemon=True)
            thread.start()
            thread.join(10)
            return bool(filled)

        child = os.fork()
        if child == 0:
            os._exit(0 if fills() else 1)
        assert fills()
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


SEEDED = """
        def values(_=None):
            return gi.uniform_(np.empty(8)).tobytes()

        def of_children(count, program=values):
            found = []
            for _ in range(count):
                reader, writer = os.pipe()
                child = os.fork()
                if child == 0:
                    os.write(writer, program())
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
                found.append(os.read(reader, 1000))
            return found
"""


@needs_fork
@pytest.mark.parametrize("before", ["", "values()", "gi.default_generator.spawn(3)", "print(gi.default_generator.seed)"])
def test_children_of_an_unseeded_program_draw_fresh_entropy(before):
    forking(
        SEEDED
        + """
        def with_a_grandchild():
            return values() + b"".join(of_children(2))

        exec(sys.argv[1])
        found = of_children(2, with_a_grandchild)
        found = [one[first : first + 64] for one in [*found, values()] for first in range(0, len(one), 64)]
        assert len(found) == len(set(found)) == 7
        """,
        before,
    )


@needs_fork
@pytest.mark.parametrize(
    "seed",
    [
        "gi.manual_seed(3)",
        "gi.default_generator.manual_seed(3)",
        "gi.manual_seed(gi.default_generator.seed)",
        "gi.default_generator.state = gi.Generator(3).spawn('a').state",
        "gi.default_generator.state = gi.default_generator.state",
    ],
)
def test_children_of_a_seeded_program_go_on_with_its_stream(seed):
    """As with any copy of a generator: a fork continues it twice."""
    forking(
        SEEDED
        + """
        exec(sys.argv[1])
        values()
        assert set(of_children(2)) == {values()}
        """,
        seed,
    )


@needs_fork
def test_other_generators_are_copied():
    forking(
        SEEDED
        + """
        own = gi.Generator()
        program = lambda: gi.uniform_(np.empty(8), generator=own).tobytes()
        assert set(of_children(2, program)) == {program()}
        """
    )


@needs_fork
def test_workers_of_a_pool():
    forking(
        SEEDED
        + """
        import multiprocessing
        context = multiprocessing.get_context("fork")

        def work(queue, number=None):
            if number is not None:
                gi.manual_seed(number)
            queue.put(values())

        def of_workers(*arguments):
            queue = context.SimpleQueue()
            workers = [context.Process(target=work, args=(queue, *arguments[k : k + 1])) for k in range(4)]
            for worker in workers:
                worker.start()
            found = [queue.get() for _ in workers]
            for worker in workers:
                worker.join()
            return set(found)

        assert len(of_workers()) == 4
        gi.manual_seed(5)
        assert of_workers() == {values()}
        seeds = range(10, 14)
        assert of_workers(*seeds) == {gi.uniform_(np.empty(8), generator=seed).tobytes() for seed in seeds}
        """
    )


@needs_fork
def test_workers_of_a_data_loader(torch):
    """Two workers, two epochs: unseeded, seeded, and seeded in each worker as the documentation has it."""
    forking(
        SEEDED
        + """
        import torch
        torch.set_num_threads(1)

        class Rows(torch.utils.data.Dataset):
            __len__ = lambda self: 4
            __getitem__ = lambda self, _: gi.uniform_(torch.empty(3))

        def rows(init=None):
            torch.manual_seed(0)
            loader = torch.utils.data.DataLoader(Rows(), num_workers=2, worker_init_fn=init, multiprocessing_context="fork")
            return [tuple(row[0].tolist()) for _ in range(2) for row in loader]

        def seed(_):
            gi.manual_seed(torch.initial_seed())

        assert len(set(rows())) == 8
        gi.manual_seed(3)
        assert len(set(rows())) == 2
        first = rows(seed)
        assert len(set(first)) == 8
        assert rows(seed) == first
        """
    )


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
