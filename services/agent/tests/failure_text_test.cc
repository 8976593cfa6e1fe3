#include "agent/domain/failure_text.h"

#include <gtest/gtest.h>

namespace trunkline::agent {
namespace {

TEST(FailureText, IsShortAndOfFewObjects) {
  std::vector<ObjectFailure> failures;
  for (int i = 0; i < 1500; ++i) {
    ObjectFailure failure;
    failure.key.id = "id" + std::to_string(i);
    failure.code = "sql_55006";
    failure.message = std::string(4000, 'x') + "\u00e9";
    failures.push_back(failure);
  }
  const auto bounded = in_bounds(failures);
  ASSERT_EQ(bounded.size(), failures.size());
  size_t bytes = 0;
  for (size_t i = 0; i < bounded.size(); ++i) {
    EXPECT_EQ(bounded[i].key, failures[i].key);
    EXPECT_EQ(bounded[i].code, "sql_55006");
    bytes += bounded[i].message.size();
  }
  EXPECT_EQ(bounded.front().message.size(), kFailureBytes);
  EXPECT_EQ(bytes, kFailureBytes * kFailuresWithText);
}

}  // namespace
}  // namespace trunkline::agent
