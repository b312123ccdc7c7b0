#include "layers/module.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace sked {

namespace {

constexpr double kUnbounded = std::numeric_limits<double>::infinity();

/// Elements [first, first + shape.numel()) of a longer tensor of N(0, std²) within ±bound. Element i uses word i mod 4
/// of block i / 4, of the first attempt (`sample`) that lands inside: a function of (address, i) alone, whatever the
/// number of threads.
Tensor draw_normal(const Shape& shape, double std, double bound, const RngAddress& address, int64_t first = 0) {
  Tensor t = Tensor::empty(shape);
  float* const y = t.data<float>();
  const int64_t end = first + t.numel();
#pragma omp parallel for schedule(static)
  for (int64_t block = first / 4; block < (end + 3) / 4; ++block) {
    const int64_t begin = std::max(4 * block, first), stop = std::min(4 * block + 4, end);
    std::array<bool, 4> done{};
    int64_t left = stop - begin;
    for (uint64_t attempt = 0; left > 0; ++attempt) {
      const auto z = normal4(random_words(address, 0, attempt, static_cast<uint64_t>(block)));
      for (int64_t i = begin; i < stop; ++i) {
        const auto k = static_cast<size_t>(i % 4);
        const double value = std * static_cast<double>(z[k]);
        if (done[k] || std::abs(value) > bound) continue;
        y[i - first] = static_cast<float>(value);
        done[k] = true;
        --left;
      }
    }
  }
  return t;
}

Tensor draw_uniform(const Shape& shape, double bound, const RngAddress& address) {
  Tensor t = Tensor::empty(shape);
  float* const y = t.data<float>();
  const int64_t n = t.numel();
#pragma omp parallel for schedule(static)
  for (int64_t block = 0; block < (n + 3) / 4; ++block) {
    const auto words = random_words(address, 0, 0, static_cast<uint64_t>(block));
    for (int64_t i = 4 * block; i < std::min(4 * block + 4, n); ++i)
      y[i] = static_cast<float>(bound * (2 * static_cast<double>(uniform01(words[static_cast<size_t>(i % 4)])) - 1));
  }
  return t;
}

struct Fans {
  double in, out;
};

/// w (O,I,kh,kw) or (O,I): fan_in = I kh kw, fan_out = O kh kw.
Fans fans(const Shape& shape, std::string_view where) {
  require(shape.ndim() >= 2 && shape.numel() > 0, where, "expected a weight (O,I...) with elements, got ", shape);
  const double receptive = static_cast<double>(shape.product(2, shape.ndim()));
  return {static_cast<double>(shape[1]) * receptive, static_cast<double>(shape[0]) * receptive};
}

}  // namespace

Tensor Init::truncated_normal(const Shape& shape, double std, double bound) {
  const RngAddress address{seed_, next_stream(), 0};
  return draws_ ? draw_normal(shape, std, bound, address).to(device_) : constant(shape, 0);
}

Tensor Init::normal(const Shape& shape, double std) { return truncated_normal(shape, std, kUnbounded); }

Tensor Init::uniform(const Shape& shape, double bound) {
  const RngAddress address{seed_, next_stream(), 0};
  return draws_ ? draw_uniform(shape, bound, address).to(device_) : constant(shape, 0);
}

Tensor Init::kaiming_fan_out(const Shape& shape) {
  return normal(shape, std::sqrt(2 / fans(shape, "kaiming_fan_out").out));
}

Tensor Init::lecun_normal(const Shape& shape, double scale) {
  return lecun_normal(shape, scale, {0, shape.ndim() > 0 ? shape[0] : 0});
}

Tensor Init::lecun_normal(const Shape& shape, double scale, Span rows) {
  const double std = scale * std::sqrt(1 / fans(shape, "lecun_normal").in);
  const Shape own = shape.with(0, rows.size());
  const RngAddress address{seed_, next_stream(), 0};
  const int64_t first = rows.begin * (shape.numel() / shape[0]);
  return draws_ ? draw_normal(own, std, kUnbounded, address, first).to(device_) : constant(own, 0);
}

Tensor Init::xavier_uniform(const Shape& shape) {
  const Fans fan = fans(shape, "xavier_uniform");
  return uniform(shape, std::sqrt(6 / (fan.in + fan.out)));
}

std::vector<NamedVar> Module::parameters() const {
  std::vector<NamedVar> parameters;
  std::vector<NamedBuffer> buffers;
  collect("", parameters, buffers);
  return parameters;
}

std::vector<NamedBuffer> Module::buffers() const {
  std::vector<NamedVar> parameters;
  std::vector<NamedBuffer> buffers;
  collect("", parameters, buffers);
  return buffers;
}

int64_t Module::parameter_count() const {
  int64_t count = 0;
  for (const NamedVar& p : parameters()) count += p.whole_shape().numel();
  return count;
}

void Module::set_requires_grad(bool on) {
  for (NamedVar& p : parameters()) p.var.set_requires_grad(on);
}

bool Module::requires_grad() const {
  return std::ranges::any_of(parameters(), [](const NamedVar& p) { return p.var.requires_grad(); });
}

bool is_within(std::string_view name, std::string_view prefix) {
  return name.starts_with(prefix) && (name.size() == prefix.size() || name[prefix.size()] == '.');
}

void Module::add(std::string name, Var& parameter, RowShard shard) {
  add({std::move(name), &parameter, nullptr, nullptr, shard});
}
void Module::add(std::string name, Tensor& buffer) { add({std::move(name), nullptr, &buffer, nullptr}); }
void Module::add(std::string name, Module& child) { add({std::move(name), nullptr, nullptr, &child}); }

void Module::add(Entry entry) {
  for (const Entry& e : entries_) require(e.name != entry.name, "module", "a second member is named ", entry.name);
  entries_.push_back(std::move(entry));
}

void Module::collect(const std::string& prefix, std::vector<NamedVar>& parameters,
                     std::vector<NamedBuffer>& buffers) const {
  for (const Entry& e : entries_) {
    if (e.parameter && e.parameter->defined()) parameters.push_back({prefix + e.name, *e.parameter, e.shard});
    if (e.buffer && e.buffer->defined()) buffers.emplace_back(prefix + e.name, e.buffer);
    if (e.child) e.child->collect(e.name.empty() ? prefix : prefix + e.name + ".", parameters, buffers);
  }
}

}  // namespace sked
