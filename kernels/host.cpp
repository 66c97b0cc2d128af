// The fills of `uniform.cuh` and `normal.cuh` for a CPU, as C functions gpuinit_<name><bits of a value>(transform, key_low, key_high,
// first, starts, runs, length, out): to `out` goes, run after run, what the transform makes of the words of the elements
// starts[k], starts[k] + 1 ... starts[k] + length - 1 of a fill whose first block is number `first` of the stream.
#include <cstdlib>  // for __GLIBC__

#include "normal.cuh"
#include "philox.cuh"
#include "uniform.cuh"

// x86-64 as it was, with AVX2, with AVX-512: when the library is loaded, the last one that the CPU has is taken.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__)
#define GPUINIT_EACH_CPU __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define GPUINIT_EACH_CPU
#endif

namespace gpuinit {

constexpr i64 CHUNK = 256;  // blocks whose words are drawn before any is used; they lie in the L1 cache

template <typename W, typename Transform>
__forceinline__ void fill_run(const Transform &transform, const Stream &stream, i64 start, i64 length, W *__restrict out) {
    using Word = typename Real<W>::Word;
    constexpr i64 count = sizeof(Block) / sizeof(Word);
    Word words[CHUNK * count];
    i64 block = start / count, skipped = start % count;
    while (length > 0) {
        const i64 room = CHUNK * count - skipped, taken = length < room ? length : room;
        const i64 end = block + (skipped + taken + count - 1) / count;
        for (Word *place = words; block < end; ++block, place += count) {
            const Block drawn = stream.block(block);
            for (int j = 0; j < count; ++j) drawn.word(j, place[j]);
        }
        for (i64 j = 0; j < taken; ++j) out[j] = transform(words[skipped + j], start + j);
        start += taken;
        out += taken;
        length -= taken;
        skipped = 0;
    }
}

template <typename W, typename Transform>
__forceinline__ void fill_runs(
    const Transform transform, const Stream stream, const i64 *starts, i64 runs, i64 length, W *__restrict out) {
    for (i64 k = 0; k < runs; ++k) fill_run(transform, stream, starts[k], length, out + k * length);
}

}  // namespace gpuinit

#define GPUINIT_FILL(name, Transform, W)                                                                           \
    extern "C" GPUINIT_EACH_CPU void name(                                                                         \
        const gpuinit::Transform<W> *transform, gpuinit::u64 key_low, gpuinit::u64 key_high, gpuinit::u64 first,   \
        const gpuinit::i64 *starts, gpuinit::i64 runs, gpuinit::i64 length, W *__restrict out) {                   \
        gpuinit::fill_runs(*transform, {{key_low, key_high}, first}, starts, runs, length, out);                   \
    }

GPUINIT_FILL(gpuinit_uniform32, Uniform, float)
GPUINIT_FILL(gpuinit_uniform64, Uniform, double)
GPUINIT_FILL(gpuinit_normal32, Normal, float)
GPUINIT_FILL(gpuinit_normal64, Normal, double)
GPUINIT_FILL(gpuinit_truncated32, Truncated, float)
GPUINIT_FILL(gpuinit_truncated64, Truncated, double)
