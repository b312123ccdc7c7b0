// What most files include of the standard library, compiled once for all of them (PRELUDE in the Makefile). It stands
// for nothing: every file includes what it uses, as other compilers and the builds with sanitizers show. None of our
// headers is here, so that a change of one has only those files compiled again that include it.

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

// Compiled once, in prelude.cpp; with C++20, GCC would otherwise compile std::string again in every file that uses it.
extern template class std::basic_string<char>;
extern template class std::vector<std::string>;
extern template class std::vector<int>;
extern template class std::vector<int64_t>;
extern template class std::vector<float>;
extern template class std::vector<double>;
extern template class std::vector<unsigned char>;
extern template class std::map<std::string, std::string>;
