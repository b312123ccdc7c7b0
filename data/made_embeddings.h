#pragma once
// Vectors and labels by a rule: any number of classes without a file, with doubt whose size and shape are known.

#include <cstdint>

#include "core/rng.h"
#include "data/dataset.h"

namespace sked {

inline constexpr const char* kMadeEmbeddings = "made-embeddings";

/// What the rule is told. K classes, D numbers a vector.
struct MadeEmbeddingsSpec {
  int64_t classes = 1000;        // K
  int64_t superclass_size = 10;  // classes k of one ⌊k / size⌋ look alike, and are confused; the last may be smaller
  int64_t width = 256;           // D
  int64_t train = 50000, test = 10000;
  double spread = 3;       // s: deviation of a vector around what its class looks like, in each coordinate
  double confusion = 0.5;  // c: the largest share λ of another class in a vector
  uint64_t seed = 0;       // of everything
};

/// What is made, of one part: vector i of class y, mixed with another class z of the same super-class,
///
///   x = (u_⌊y/size⌋ + (1 - λ) v_y + λ v_z + s n) / √(2 + s²),   u, v, n ~ N(0, I_D),
///   y uniform among all classes, z among the others of its super-class, λ uniform in [0, c],
///   confused label: z with probability λ, else y.
///
/// An annotator sees from x where between two kindred classes it lies, and says either in that proportion: who is
/// confused with whom is a matter of super-classes, and how much depends on x. (A vector alone does not tell λ wholly:
/// p(label | x) is the mean of (1 - λ, λ) over what can look like x.) u_g, v_k and n_i are drawn at the addresses
/// (seed, g), (seed, k) and (seed, part, i), nothing is kept, and the numbers are the same on every machine.
class MadeEmbeddings final : public Dataset {
 public:
  enum class Part : uint64_t { train, test };

  /// Labels are the confused ones, or y; test vectors have a distribution, 1 - λ for y and λ for z. Throws UsageError,
  /// naming the key, for a spec out of range.
  MadeEmbeddings(const MadeEmbeddingsSpec& spec, Part part, bool confused_labels);

  int64_t size() const override { return part_ == Part::train ? spec_.train : spec_.test; }
  Shape image_shape() const override { return {spec_.width}; }
  Tensor image(int64_t i) const override;
  void read_features(int64_t i, float* out) const override;
  int64_t label(int64_t i) const override;
  /// Share of the labels that are not y.
  double noisy_share() const;
  std::string source(int64_t i) const override;
  bool has_distributions() const override { return part_ == Part::test; }
  Tensor distribution(int64_t i) const override;
  /// The rule and i: what it makes need not be made.
  void add_identity(int64_t i, Fingerprint& f) const override;
  void add_image(int64_t i, Fingerprint& f) const override;

 private:
  /// y, z, λ and the confused label of vector i.
  struct Draw {
    int64_t y, z;
    float mix;
    int64_t confused;
  };
  Draw draw(int64_t i) const;

  MadeEmbeddingsSpec spec_;
  Part part_;
  bool confused_labels_;
};

/// Throws UsageError, naming the key, for a number out of range.
void check(const MadeEmbeddingsSpec& spec);

/// `class k of super-class g`, K of them.
std::vector<std::string> class_names_of(const MadeEmbeddingsSpec& spec);

}  // namespace sked
