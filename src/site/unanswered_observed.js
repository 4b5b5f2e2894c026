function watchAnswers(place/*: string*/) {
  try {
    new PerformanceObserver(function (list) {
      list.getEntries().forEach(function (entry/*: any*/) {
        if (!/^(fetch|xmlhttprequest)$/.test(entry.initiatorType)) return
        isAnswered(place, entry.name, entry.responseStatus, entry.contentType)
      })
    }).observe({ type: 'resource' })
  } catch (error) {}
}
