// Eye, Dirac: where the ones of an identity matrix and of a Dirac kernel are. They begin at an element's number in C order, and
// each call of next() tells of an element and goes on to the next one. `N` is an unsigned integer type.
// write_ones<Pattern, T>(x, i, parameters...): the elements in 16 bytes, piece i, of x: 1 where the pattern has its ones, else 0.
// write_ones_shard<Pattern, T>(x, i, region, parameters...): element i of a shard.
#pragma once
#include "store.cuh"

namespace gpuinit {

template <typename N>
class Eye {
    const N columns;
    N row, column;

  public:
    __device__ __forceinline__ Eye(N first, N columns)
        : columns(columns), row(first / columns), column(first % columns) {}

    __device__ __forceinline__ bool next() {
        const bool one = row == column;
        if (++column == columns) column = 0, ++row;
        return one;
    }
};

// Elements of (out, in, *kernel): `field` elements a kernel, its centre the element number `centre`, `group` outputs a group.
template <typename N>
class Dirac {
    const N inputs, field, centre, group;
    N output, input, element;

  public:
    __device__ __forceinline__ Dirac(N first, N inputs, N field, N centre, N group)
        : inputs(inputs), field(field), centre(centre), group(group), element(first % field) {
        const N channel = first / field;
        input = channel % inputs;
        output = channel / inputs % group;
    }

    __device__ __forceinline__ bool next() {
        const bool one = element == centre && input == output;
        if (++element == field) {
            element = 0;
            if (++input == inputs) {
                input = 0;
                if (++output == group) output = 0;
            }
        }
        return one;
    }
};

template <template <typename> class Pattern, typename T, typename Array, typename... Parameters>
__device__ __forceinline__ void write_ones(Array &x, i64 i, Parameters... parameters) {
    Pattern<Number<Array>> ones(i * (sizeof(uint4) / sizeof(T)), parameters...);
    write<T>(x, i, [&] { return T(ones.next() ? 1.0f : 0.0f); });
}

template <template <typename> class Pattern, typename T, typename Array, typename Region, typename... Parameters>
__device__ __forceinline__ void write_ones_shard(Array &x, i64 i, const Region &region, Parameters... parameters) {
    x[i] = T(Pattern<u64>(region.number(i), parameters...).next() ? 1.0f : 0.0f);
}

}  // namespace gpuinit
