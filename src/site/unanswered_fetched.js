function watched(place) {
  return function (answer, given) {
    answer.then(function (got) {
      isAnswered(place, given[0], got.status, got.headers && got.headers.get('content-type'))
    }, function () { isAnswered(place, given[0], 0) })
    return answer
  }
}
