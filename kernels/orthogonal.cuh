// Householder reflectors from rows of normals (Stewart 1980), in the form that LAPACK's orgqr takes.
// Row j, from element j on, is the vector x; H = I - tau v v', v = (1, ...), maps it to (beta, 0, ...), beta = -sign(x[j]) |x|.
#pragma once
#include "ieee.cuh"

namespace gpuinit {

template <typename W>
class Reflector {
    using Bits = typename Real<W>::Word;
    static constexpr int top = 8 * sizeof(Bits) - 1;

    W head, norm;
    bool identity;  // of a single number, as in a square matrix's last row, or of zeros

    static __device__ __forceinline__ W with_sign(W magnitude, Bits sign) { return Real<W>::of_bits(Real<W>::bits(magnitude) | sign); }
    __device__ __forceinline__ Bits head_sign() const { return Real<W>::bits(head) >> top << top; }

  public:
    __device__ __forceinline__ Reflector(W head, W squares, bool last)
        : head(head), norm(square_root(squares)), identity(last || Real<W>::bits(norm) == 0) {}

    // An element of v below its first, from that of x.
    __device__ __forceinline__ W scaled(W x) const {
        return identity ? W(0) : divide(x, add(head, with_sign(norm, head_sign())));
    }

    __device__ __forceinline__ W tau() const {
        return identity ? W(0) : add(W(1), divide(Real<W>::of_bits(Real<W>::bits(head) & ~head_sign()), norm));
    }

    // The sign of R's diagonal element: beta's, or the number's own.
    __device__ __forceinline__ W sign() const {
        return with_sign(W(1), identity ? head_sign() : head_sign() ^ Bits(1) << top);
    }
};

template <typename T, typename W>
__device__ __forceinline__ void write(T &x, W value) {
    reinterpret_cast<typename Rounded<T>::Bits &>(x) = Rounded<T>::bits(value);
}

}  // namespace gpuinit
