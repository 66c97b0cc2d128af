// The fills of `uniform.cuh` and `normal.cuh` for a CPU, as C functions gpuinit_<name><bits of a value>(transform, key_low,
// key_high, first, starts, runs, length, out): to `out` goes, run after run, what the transform makes of the words of the elements
// starts[k], starts[k] + 1 ... starts[k] + length - 1 of a fill whose first block is number `first` of the stream.
// gpuinit_<name><bits>_size() is the size of such a transform. And gpuinit_repeat(value, out, count), for constants.
#include <cstdlib>  // for __GLIBC__

#include "normal.cuh"
#include "philox.cuh"
#include "uniform.cuh"

// For baseline x86-64, with AVX2, with AVX-512: when the library is loaded, the last one that the CPU has is taken.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && __GNUC__ >= 12
#define GPUINIT_EACH_CPU __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define GPUINIT_EACH_CPU
#endif

namespace gpuinit {

constexpr u64 CHUNK = 256;  // blocks whose words are drawn before any is used; they lie in the L1 cache

template <typename W, typename Transform>
__forceinline__ void fill_run(const Transform &transform, const Stream &stream, u64 start, u64 length, W *__restrict out) {
    using Word = typename Real<W>::Word;
    constexpr u64 count = sizeof(Block) / sizeof(Word);
    Word words[CHUNK * count];
    u64 block = start / count, skipped = start % count;
    while (length > 0) {
        const u64 room = CHUNK * count - skipped, taken = length < room ? length : room;
        const u64 end = block + (skipped + taken + count - 1) / count;
        for (Word *place = words; block < end; ++block, place += count) {
            const Block drawn = stream.block(block);
            for (u64 j = 0; j < count; ++j) drawn.word(j, place[j]);
        }
        for (u64 j = 0; j < taken; ++j) out[j] = transform(words[skipped + j], start + j);
        start += taken;
        out += taken;
        length -= taken;
        skipped = 0;
    }
}

template <typename W, typename Transform>
__forceinline__ void fill_runs(
    const Transform transform, const Stream stream, const u64 *starts, u64 runs, u64 length, W *__restrict out) {
    for (u64 k = 0; k < runs; ++k) fill_run(transform, stream, starts[k], length, out + k * length);
}

}  // namespace gpuinit

#define GPUINIT_FILL(name, Transform, W)                                                                           \
    extern "C" GPUINIT_EACH_CPU void name(                                                                         \
        const gpuinit::Transform<W> *transform, gpuinit::u32 key_low, gpuinit::u32 key_high, gpuinit::u64 first,   \
        const gpuinit::u64 *starts, gpuinit::u64 runs, gpuinit::u64 length, W *__restrict out) {                   \
        gpuinit::fill_runs(*transform, {{key_low, key_high}, first}, starts, runs, length, out);                   \
    }                                                                                                              \
    extern "C" gpuinit::u64 name##_size() { return sizeof(gpuinit::Transform<W>); }

GPUINIT_FILL(gpuinit_uniform32, Uniform, float)
GPUINIT_FILL(gpuinit_uniform64, Uniform, double)
GPUINIT_FILL(gpuinit_normal32, Normal, float)
GPUINIT_FILL(gpuinit_normal64, Normal, double)
GPUINIT_FILL(gpuinit_truncated32, Truncated, float)
GPUINIT_FILL(gpuinit_truncated64, Truncated, double)

// Intel's CPUs have an instruction for this that, like memset and unlike a loop of stores, does not read the lines that it is to
// overwrite; on AMD's (Zen 4) the loop is faster.
extern "C" void gpuinit_repeat(gpuinit::u64 value, char *out, gpuinit::u64 count) {
#ifdef __x86_64__
    if (__builtin_cpu_is("intel")) {
        __asm__ volatile("rep stosq" : "+D"(out), "+c"(count) : "a"(value) : "memory");
        return;
    }
#endif
    for (gpuinit::u64 i = 0; i < count; ++i) __builtin_memcpy(out + i * sizeof(value), &value, sizeof(value));
}
