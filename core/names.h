#pragma once
// Enumerations whose values have names, as configurations and messages say them.

#include <array>
#include <cstddef>
#include <optional>
#include <ostream>
#include <string>
#include <type_traits>

namespace sked {

/// Beside the enumeration, for its values 0, 1 …:
///   constexpr std::array<const char*, 2> names_of(Color) { return {"red", "green"}; }
template <class E>
concept NamedEnum = std::is_enum_v<E> && requires(E e) {
  names_of(e);
};

template <NamedEnum E>
std::string name_of(E value) {
  return names_of(value)[static_cast<size_t>(value)];
}

/// The value of that name, where there is one.
template <NamedEnum E>
std::optional<E> value_named(const std::string& name) {
  const auto names = names_of(E{});
  for (size_t i = 0; i < names.size(); ++i)
    if (names[i] == name) return static_cast<E>(i);
  return {};
}

template <NamedEnum E>
std::ostream& operator<<(std::ostream& out, E value) {
  return out << name_of(value);
}

}  // namespace sked
