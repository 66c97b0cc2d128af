// The fills of `uniform.cuh`, `normal.cuh` and `narrow.cuh` for a CPU, as C functions gpuinit_<name>_<dtype>(task, out). They write to
// `out`, run after run, what the task's transform makes of the words of the elements starts[k], starts[k] + 1 ...
// starts[k] + length - 1 of a fill whose first block is number `first` of the stream. gpuinit_<name>_<dtype>_size() is the size of such a transform. gpuinit_level() is that of the flags this CPU can run code of:
// x86-64-v<level>, or 0. And gpuinit_repeat(value, out, count), for constants.
#include "host_lanes.hpp"
#include "narrow.cuh"
#include "normal.cuh"
#include "uniform.cuh"

#ifdef __x86_64__
#include <cpuid.h>
#endif

#ifndef __SSE2__
#include <cfenv>
#endif

namespace gpuinit {

// While it lives, the thread's floating-point mode is the one that values are defined in: to nearest, subnormals kept, no traps.
class StandardMode {
#ifdef __SSE2__
    static constexpr u32 STANDARD = 0x1f80, FLAGS = 0x3f;  // of MXCSR; the flags say what has happened
    const u32 callers = _mm_getcsr();
    const bool differs = (callers & ~FLAGS) != STANDARD;

  public:
    StandardMode() { if (differs) _mm_setcsr(STANDARD); }
    ~StandardMode() { if (differs) _mm_setcsr(callers); }
#else
    std::fenv_t callers;

  public:
    StandardMode() { std::fegetenv(&callers), std::fesetenv(FE_DFL_ENV); }
    ~StandardMode() { std::fesetenv(&callers); }
#endif
};

constexpr u64 CHUNK = 256;  // blocks whose words are drawn before any is used; they lie in the L1 cache

// The words of so many blocks; `out` has room for whole groups.
__forceinline__ void draw_blocks(const Stream &stream, u64 number, u64 count, u32 *__restrict out) {
    if (count <= GROUP / 4) {  // of a short run
        for (u64 k = 0; k < count; ++k) store_lanes(out + 4 * k, stream.block(number + k));
        return;
    }
    for (u64 k = 0; k < count; k += GROUP) draw_group(stream, number + k, out + 4 * k);
}

// Values of the elements from number `start` on, as the transform makes them of one word after the other.
template <typename Transform, typename W, typename Word>
__forceinline__ void evaluate(const Transform &transform, const Word *__restrict words, u64 start, u64 length, W *__restrict out) {
    for (u64 j = 0; j < length; ++j) out[j] = transform(words[j], start + j);
}

template <typename W>
__forceinline__ void evaluate(
    const Normal<W> &normal, const typename Real<W>::Word *__restrict words, u64 start, u64 length, W *__restrict out) {
    constexpr int lanes = Vector<W>::lanes;
    Lanes<W> mean;
    for (int k = 0; k < lanes; ++k) mean[k] = (start + k) & 1 ? normal.odd_mean : normal.mean;
    u64 j = 0;
    for (; j + lanes <= length; j += lanes) {
        const auto word = load_lanes<Lanes<typename Real<W>::Signed>>(words + j) | 1;
        const Lanes<W> z = inverse_cdf_lanes(normal.table, __builtin_convertvector(word, Lanes<W>));
        store_lanes(out + j, z * normal.std + mean);
    }
    for (; j < length; ++j) out[j] = normal(words[j], start + j);
}

template <typename W>
__forceinline__ void evaluate(
    const Truncated<W> &truncated, const typename Real<W>::Word *__restrict words, u64 start, u64 length, W *__restrict out) {
    constexpr int lanes = Vector<W>::lanes;
    u64 j = 0;
    for (; j + lanes <= length; j += lanes) {
        W odd[lanes];
        for (int k = 0; k < lanes; ++k) odd[k] = Real<W>::from((i64)(truncated.probability(words[j + k]) | 1));
        const Lanes<W> z = inverse_cdf_lanes(truncated.table, load_lanes<Lanes<W>>(odd));
        const Lanes<W> value = z * truncated.std + truncated.mean;
        const Lanes<W> raised = value < truncated.least ? Lanes<W>{} + truncated.least : value;
        store_lanes(out + j, raised > truncated.greatest ? Lanes<W>{} + truncated.greatest : raised);
    }
    for (; j < length; ++j) out[j] = truncated(words[j], start + j);
}

// Arrays of a 16-bit type hold these: the bits of values rounded once.
struct Half {
    u16 bits;
};

struct Brain {
    u16 bits;
};

// As the hardware's conversions do, which not all CPUs have; w is no nan.
__forceinline__ u16 half_bits(float w) {
    const u32 bits = Real<float>::bits(w), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    const u32 normal = (size + 0xfff + (size >> 13 & 1) - 0x38000000) >> 13;                      // from 2**-14 on
    const u32 small = Real<float>::bits(Real<float>::of_bits(size) + 0.5f) - 0x3f000000;  // 0.5f has halves' least step
    const u32 rounded = size < 0x38800000 ? small : size < 0x47800000 ? normal : 0x7c00;
    return (u16)(rounded | sign);
}

__forceinline__ void round_all(const float *__restrict values, u64 length, Half *__restrict out) {
    u64 j = 0;
#ifdef __F16C__
    for (; j + 8 <= length; j += 8)
        _mm_storeu_si128((__m128i *)(out + j), _mm256_cvtps_ph(_mm256_loadu_ps(values + j), _MM_FROUND_TO_NEAREST_INT));
#endif
    for (; j < length; ++j) out[j].bits = half_bits(values[j]);
}

__forceinline__ void round_all(const float *__restrict values, u64 length, Brain *__restrict out) {
    for (u64 j = 0; j < length; ++j) {
        const u32 bits = Real<float>::bits(values[j]);
        out[j].bits = (u16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
}

template <typename W, typename Transform, typename T>
__forceinline__ void fill_run(const Transform &transform, const Stream &stream, u64 start, u64 length, T *__restrict out) {
    using Word = typename Real<W>::Word;
    constexpr u64 count = sizeof(Block) / sizeof(Word);
    alignas(64) Word words[CHUNK * count];
    alignas(64) W values[sizeof(T) == sizeof(W) ? 1 : CHUNK * count];
    while (length > 0) {
        const u64 skipped = start % count, room = CHUNK * count - skipped, taken = length < room ? length : room;
        draw_blocks(stream, start / count, (skipped + taken + count - 1) / count, (u32 *)words);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        if constexpr (sizeof(Word) == 8)  // of two 32-bit words, the first is the low half
            for (u64 j = 0; j < skipped + taken; ++j) words[j] = words[j] << 32 | words[j] >> 32;
#endif
        if constexpr (sizeof(T) == sizeof(W)) {
            evaluate(transform, words + skipped, start, taken, out);
        } else {
            evaluate(transform, words + skipped, start, taken, values);
            round_all(values, taken, out);
        }
        start += taken;
        out += taken;
        length -= taken;
    }
}

// What a fill is called with, in one piece, as one argument is faster to hand over than many: behind this lie the runs' starts, 64 bits
// each, and the transform.
struct Task {
    u32 key_low, key_high;
    u64 first, runs, length;
};

// Not inlined: compilers move arithmetic across a change of the mode, but not out of a call.
template <typename W, typename Transform, typename T>
__attribute__((noinline)) void fill_runs(const Task &task, T *__restrict out) {
    const u64 *starts = reinterpret_cast<const u64 *>(&task + 1);
    const Transform transform = *reinterpret_cast<const Transform *>(starts + task.runs);
    const Stream stream = {{task.key_low, task.key_high}, task.first};
    for (u64 k = 0; k < task.runs; ++k) fill_run<W>(transform, stream, starts[k], task.length, out + k * task.length);
}

}  // namespace gpuinit

#define GPUINIT_FILL(name, Transform, W, T)                                                  \
    extern "C" void name(const gpuinit::Task *task, T *__restrict out) {                     \
        const gpuinit::StandardMode mode;                                                    \
        gpuinit::fill_runs<W, gpuinit::Transform<W>>(*task, out);                            \
    }                                                                                        \
    extern "C" gpuinit::u64 name##_size() { return sizeof(gpuinit::Transform<W>); }

#define GPUINIT_FILLS(name, Transform)                                    \
    GPUINIT_FILL(gpuinit_##name##_float16, Transform, float, gpuinit::Half)    \
    GPUINIT_FILL(gpuinit_##name##_bfloat16, Transform, float, gpuinit::Brain)  \
    GPUINIT_FILL(gpuinit_##name##_float32, Transform, float, float)       \
    GPUINIT_FILL(gpuinit_##name##_float64, Transform, double, double)

GPUINIT_FILLS(uniform, Uniform)
GPUINIT_FILLS(normal, Normal)
GPUINIT_FILLS(truncated, Truncated)
GPUINIT_FILLS(narrow, Narrow)

extern "C" int gpuinit_level() {
#ifdef __x86_64__
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    const bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd");
    return v3 && v4 ? 4 : v3 ? 3 : 0;
#else
    return 0;
#endif
}

#ifdef __x86_64__
namespace gpuinit {

// Whether `rep stosq`, which like memset and unlike a loop of stores does not read the lines that it is to overwrite, is the fastest
// way to do so. It is on Intel's server CPUs from Ice Lake on, which have FSRM ("fast short rep mov"); on earlier ones (Cascade
// Lake) it takes 1.4 times as long as the loop below, and on AMD's (Zen 4) longer than a loop too.
static bool has_fast_repeat() {
    u32 a, b, c, d;
    __builtin_cpu_init();
    return __builtin_cpu_is("intel") && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 4 & 1);
}

static const bool fast_repeat = has_fast_repeat();

}  // namespace gpuinit
#endif

extern "C" void gpuinit_repeat(gpuinit::u64 value, char *out, gpuinit::u64 count) {
#ifdef __x86_64__
    if (gpuinit::fast_repeat) {
        __asm__ volatile("rep stosq" : "+D"(out), "+c"(count) : "a"(value) : "memory");
        return;
    }
#endif
    constexpr gpuinit::u64 line = 64, ahead = 64 * line;  // lines are asked for a page before they are written
    const gpuinit::u64 lines = count * sizeof(value) / line * line;
    gpuinit::u64 i = 0;
    for (; i < lines; i += line) {
        __builtin_prefetch(out + i + ahead, 1);
#pragma GCC unroll 8
        for (gpuinit::u64 j = 0; j < line; j += sizeof(value)) __builtin_memcpy(out + i + j, &value, sizeof(value));
    }
    for (; i < count * sizeof(value); i += sizeof(value)) __builtin_memcpy(out + i, &value, sizeof(value));
}
