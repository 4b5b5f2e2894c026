var failures/*: any*/ = {}
function fails(what/*: string*/, url/*: string*/, why/*: any*/) {
  if (navigator.onLine === false) return
  failures[what] = (failures[what] || 0) + 1
  if (failures[what] !== 3 || !window.console) return
  console.warn('Events do not get through: ' + (url.charAt(0) === '/' ? location.origin : '') + url +
    ' was asked three times in vain, at last ' + why +
    '. Does this path reach the server that takes the events, and is the write key right?')
}
function isAnswered(place/*: string*/, address/*: any*/, status/*: number*/, type/*: any*/) {
  var url = String(address).split('?')[0]
  if (url.slice(url.indexOf('//') + 2).indexOf(place) !== 0) return
  if (status === 0) fails(place, url, 'without an answer')
  else if (status > 399) fails(place, url, 'with status ' + status)
  else if (/html/.test(type)) fails(place, url, 'with a web page for an answer')
}
