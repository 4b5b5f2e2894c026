function watched(answer, given) {
  answer.then(function (got) {
    isAnswered('', given[0], got.status, got.headers && got.headers.get('content-type'))
  }, function () { isAnswered('', given[0], 0) })
  return answer
}
