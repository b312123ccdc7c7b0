#pragma once
// Enumerations whose values have names, as configurations and messages say them.

#include <string>
#include <type_traits>

namespace sked {

/// Beside the enumeration, for its values 0, 1 …:
///   constexpr std::array<const char*, 2> names_of(Color) { return {"red", "green"}; }
template <class E>
concept Named = std::is_enum_v<E> && requires(E e) {
  names_of(e);
};

template <Named E>
std::string name_of(E value) {
  return names_of(value)[static_cast<size_t>(value)];
}

}  // namespace sked
