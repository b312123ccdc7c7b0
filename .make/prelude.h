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
