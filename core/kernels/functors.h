#pragma once
// The arithmetic of the element-wise functions, written once for every backend and dtype: `forward` is the formula,
// `derivative` its derivative at the same x, both in a form that neither overflows nor cancels where the function
// itself does not. `constexpr` lets device code call them. With NaN they give NaN.

#include "core/kernels/elementwise.h"
#include "core/math.h"

namespace sked::functor {

/// −x.
struct Neg {
  template <class T>
  static constexpr T forward(T x) {
    return -x;
  }
  template <class T>
  static constexpr T derivative(T) {
    return T{-1};
  }
};

/// e^x, its own derivative.
struct Exp {
  template <class T>
  static constexpr T forward(T x) {
    return math::exp(x);
  }
  template <class T>
  static constexpr T derivative(T x) {
    return math::exp(x);
  }
};

/// ln x; 1 / x.
struct Log {
  template <class T>
  static constexpr T forward(T x) {
    return math::log(x);
  }
  template <class T>
  static constexpr T derivative(T x) {
    return T{1} / x;
  }
};

/// √x; 1 / (2 √x), +∞ at 0.
struct Sqrt {
  template <class T>
  static constexpr T forward(T x) {
    return math::sqrt(x);
  }
  template <class T>
  static constexpr T derivative(T x) {
    return T(0.5) / math::sqrt(x);
  }
};

/// 1 / x; −1 / x².
struct Reciprocal {
  template <class T>
  static constexpr T forward(T x) {
    return T{1} / x;
  }
  template <class T>
  static constexpr T derivative(T x) {
    const T y = T{1} / x;
    return -(y * y);
  }
};

/// x²; 2x.
struct Square {
  template <class T>
  static constexpr T forward(T x) {
    return x * x;
  }
  template <class T>
  static constexpr T derivative(T x) {
    return x + x;
  }
};

/// |x|; sign x, 0 at the kink.
struct Abs {
  template <class T>
  static constexpr T forward(T x) {
    return x < T{0} ? -x : x;
  }
  template <class T>
  static constexpr T derivative(T x) {
    return x == T{0} ? T{0} : (x < T{0} ? T{-1} : (x > T{0} ? T{1} : x));
  }
};

/// max(x, 0); [x > 0], so 0 at the kink.
struct Relu {
  template <class T>
  static constexpr T forward(T x) {
    return x < T{0} ? T{0} : x;  // NaN passes
  }
  template <class T>
  static constexpr T derivative(T x) {
    return x > T{0} ? T{1} : (x <= T{0} ? T{0} : x);
  }
};

/// x Φ(x); Φ(x) + x φ(x), φ(x) = e^(−x²/2) / √(2π). (Hendrycks & Gimpel, arXiv 1606.08415)
struct Gelu {
  template <class T>
  static constexpr T forward(T x) {
    return x * math::normal(x).cdf;
  }
  template <class T>
  static constexpr T derivative(T x) {
    const math::Normal<T> n = math::normal(x);
    return n.cdf + x * (T(0.39894228040143267794) * n.bell);
  }
};

/// ½ x (1 + tanh u), u = √(2/π) (x + 0.044715 x³); ½ (1 + tanh u) + ½ x (1 − tanh² u) u'. Written with
/// ½ (1 + tanh u) = σ(2u): x σ(2u); σ(2u) + 2 x σ(2u) σ(−2u) u'.
struct GeluTanh {
  template <class T>
  static constexpr T twice_u(T x) {
    return T(1.59576912160573071176) * (x + T(0.044715) * x * x * x);
  }
  template <class T>
  static constexpr T forward(T x) {
    return x * math::sigmoid(twice_u(x));
  }
  template <class T>
  static constexpr T derivative(T x) {
    const T s = math::sigmoid(twice_u(x)), rest = math::sigmoid(-twice_u(x));
    const T twice_du = T(1.59576912160573071176) * (T{1} + T(0.134145) * x * x);
    return s + x * s * rest * twice_du;
  }
};

/// σ(x) = 1 / (1 + e^−x); σ(x) σ(−x) = e / (1 + e)² with e = e^−|x|.
struct Sigmoid {
  template <class T>
  static constexpr T forward(T x) {
    return math::sigmoid(x);
  }
  template <class T>
  static constexpr T derivative(T x) {
    const T e = math::exp(x < T{0} ? x : -x);
    const T s = T{1} / (T{1} + e);
    return e * s * s;
  }
};

/// ln σ(x) = −softplus(−x); σ(−x).
struct LogSigmoid {
  template <class T>
  static constexpr T forward(T x) {
    return -math::softplus(-x);
  }
  template <class T>
  static constexpr T derivative(T x) {
    return math::sigmoid(-x);
  }
};

/// ln(1 + e^x) = max(x, 0) + log1p(e^−|x|); σ(x).
struct Softplus {
  template <class T>
  static constexpr T forward(T x) {
    return math::softplus(x);
  }
  template <class T>
  static constexpr T derivative(T x) {
    return math::sigmoid(x);
  }
};

/// tanh x; 1 − tanh² x = 4 e / (1 + e)² with e = e^−2|x|.
struct Tanh {
  template <class T>
  static constexpr T forward(T x) {
    return math::tanh(x);
  }
  template <class T>
  static constexpr T derivative(T x) {
    const T e = math::exp(T{2} * (x < T{0} ? x : -x));
    const T s = T{1} / (T{1} + e);
    return T{4} * e * s * s;
  }
};

/// a + b.
struct Add {
  template <class T>
  static constexpr T forward(T a, T b) {
    return a + b;
  }
};

/// a − b.
struct Sub {
  template <class T>
  static constexpr T forward(T a, T b) {
    return a - b;
  }
};

/// a b.
struct Mul {
  template <class T>
  static constexpr T forward(T a, T b) {
    return a * b;
  }
};

/// a / b.
struct Div {
  template <class T>
  static constexpr T forward(T a, T b) {
    return a / b;
  }
};

/// max(a, b). On a tie, and where a is NaN, it takes a.
struct Max {
  template <class T>
  static constexpr bool took_first(T a, T b) {
    return a >= b || a != a;
  }
  template <class T>
  static constexpr T forward(T a, T b) {
    return took_first(a, b) ? a : b;
  }
};

/// min(a, b). On a tie, and where a is NaN, it takes a.
struct Min {
  template <class T>
  static constexpr bool took_first(T a, T b) {
    return a <= b || a != a;
  }
  template <class T>
  static constexpr T forward(T a, T b) {
    return took_first(a, b) ? a : b;
  }
};

/// Calls f(functor) with the functor of `op`.
template <class F>
void visit(Unary op, F&& f) {
  switch (op) {
    case Unary::neg:
      return f(Neg{});
    case Unary::exp:
      return f(Exp{});
    case Unary::log:
      return f(Log{});
    case Unary::sqrt:
      return f(Sqrt{});
    case Unary::reciprocal:
      return f(Reciprocal{});
    case Unary::square:
      return f(Square{});
    case Unary::abs:
      return f(Abs{});
    case Unary::relu:
      return f(Relu{});
    case Unary::gelu:
      return f(Gelu{});
    case Unary::gelu_tanh:
      return f(GeluTanh{});
    case Unary::sigmoid:
      return f(Sigmoid{});
    case Unary::log_sigmoid:
      return f(LogSigmoid{});
    case Unary::softplus:
      return f(Softplus{});
    case Unary::tanh:
      return f(Tanh{});
  }
}

/// The same for an activation; for none nothing is called.
template <class F>
void visit(Activation act, F&& f) {
  switch (act) {
    case Activation::none:
      return;
    case Activation::relu:
      return f(Relu{});
    case Activation::gelu:
      return f(Gelu{});
    case Activation::gelu_tanh:
      return f(GeluTanh{});
  }
}

template <class F>
void visit(Binary op, F&& f) {
  switch (op) {
    case Binary::add:
      return f(Add{});
    case Binary::sub:
      return f(Sub{});
    case Binary::mul:
      return f(Mul{});
    case Binary::div:
      return f(Div{});
    case Binary::max:
      return f(Max{});
    case Binary::min:
      return f(Min{});
  }
}

}  // namespace sked::functor
