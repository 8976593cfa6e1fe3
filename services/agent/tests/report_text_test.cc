#include "agent/domain/report_text.h"

#include <gtest/gtest.h>

#include <set>

#include "base/utf8.h"
#include "trunkline/v1/stats.pb.h"

namespace trunkline::agent {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Puts `text` into each text that the message and all that can be in it have; by their names.
void fill(Message* message, const std::string& text, std::set<std::string>* filled) {
  const Descriptor* descriptor = message->GetDescriptor();
  const Reflection& reflection = *message->GetReflection();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* field = descriptor->field(i);
    ASSERT_NE(field->type(), FieldDescriptor::TYPE_BYTES) << field->full_name() << " has no bound";
    ASSERT_FALSE(field->is_map()) << field->full_name();
    const int times = field->is_repeated() ? 2 : 1;
    for (int n = 0; n < times; ++n) {
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        filled->insert(field->full_name());
        field->is_repeated() ? reflection.AddString(message, field, text)
                             : reflection.SetString(message, field, text);
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        fill(field->is_repeated() ? reflection.AddMessage(message, field)
                                  : reflection.MutableMessage(message, field),
             text, filled);
      }
    }
  }
}

void expect_bounded(const Message& message) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const int times = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int n = 0; n < times; ++n) {
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        expect_bounded(field->is_repeated() ? reflection.GetRepeatedMessage(message, field, n)
                                            : reflection.GetMessage(message, field));
      }
      if (field->cpp_type() != FieldDescriptor::CPPTYPE_STRING) continue;
      const std::string text = field->is_repeated()
                                   ? reflection.GetRepeatedString(message, field, n)
                                   : reflection.GetString(message, field);
      EXPECT_LE(text.size(), most_bytes(*field)) << field->full_name();
      EXPECT_EQ(bounded_text(text, text.size()), text) << field->full_name();
      EXPECT_FALSE(text.empty()) << field->full_name();
    }
  }
}

template <class Report>
class ReportText : public ::testing::Test {};
using Reports = ::testing::Types<v1::HostReport, v1::HostStats>;
TYPED_TEST_SUITE(ReportText, Reports);

TYPED_TEST(ReportText, WhateverIsInItCanBeSentAndRead) {
  const std::string character = "\u3042";
  std::string many;
  for (int i = 0; i < 2000; ++i) many += character;
  const std::string evil[] = {
      std::string(36'000, 'x'), many,   "a" + many, "ab" + many, character.substr(0, 2),
      "\xff\xfe\xa9\xa1",       "plain",
      std::string(255, 'x') + character, std::string("a\0b", 3)};
  for (const std::string& text : evil) {
    TypeParam report;
    std::set<std::string> filled;
    fill(&report, text, &filled);
    ASSERT_GT(filled.size(), 5u);
    bound_texts(&report);
    expect_bounded(report);
    TypeParam read;
    ASSERT_TRUE(read.ParseFromString(report.SerializeAsString()));
    EXPECT_EQ(read.SerializeAsString(), report.SerializeAsString());
    EXPECT_EQ(read.host(), bounded_text(text, kTextBytes));
    EXPECT_LT(report.ByteSizeLong(), 64u * 1024);
  }
}

TEST(ReportText, OfWhatIsTooLargeTheFactsAreLeft) {
  v1::HostReport report;
  std::set<std::string> filled;
  fill(&report, std::string(100, 'x'), &filled);
  auto& node = *report.mutable_nodes(0);
  node.mutable_ensure()->set_generation(7);
  leave_out_words(&report);
  EXPECT_EQ(report.nodes_size(), 2);
  EXPECT_EQ(node.object_notes_size(), 0);
  EXPECT_EQ(node.ensure().generation(), 7u);
  EXPECT_EQ(node.standbys_size(), 2);
  for (const auto* task : {&node.ensure(), &node.role(), &node.objects(), &node.remove()}) {
    EXPECT_EQ(task->failure().message(), "");
    EXPECT_NE(task->failure().code(), "");
  }
  ASSERT_EQ(node.object_failures_size(), 2);
  EXPECT_EQ(node.object_failures(0).failure().message(), "");
  EXPECT_NE(node.object_failures(0).failure().code(), "");
}

}  // namespace
}  // namespace trunkline::agent
