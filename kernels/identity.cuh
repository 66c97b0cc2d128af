// Eye, Dirac: where the ones of an identity matrix and of a Dirac kernel are. They begin at an element's number in C order, and
// each call of next() tells of an element and goes on to the next one. `N` is an unsigned integer type.
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

}  // namespace gpuinit
