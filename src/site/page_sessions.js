var edgePage/*: any*/ = {}
function edgeId(time/*: number*/) {
  var hex = ('00000000000' + time.toString(16)).slice(-12)
  var source/*: any*/ = window.crypto && crypto.getRandomValues ? crypto.getRandomValues(new Uint8Array(10)) : null
  for (var i = 0; i < 10; i++) {
    hex += (256 + (source ? source[i] : Math.random() * 256 | 0)).toString(16).slice(1)
  }
  return hex.slice(0, 8) + '-' + hex.slice(8, 12) + '-7' + hex.slice(12, 15) + '-' +
    '89ab'.charAt(parseInt(hex.charAt(15), 16) & 3) + hex.slice(16, 19) + '-' + hex.slice(19, 31)
}
function edgeTry(work/*: any*/) {
  try { return work() } catch (error) { return undefined }
}
function edgeSession(analytics/*: any*/, event/*: any*/) {
  var key = 'edge_page', form = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i
  var given = event.context || {}, context/*: any*/ = {}, name, store/*: any*/
  if (given.sessionId !== undefined || given.windowId !== undefined) return
  var now = Date.now(), at = +new Date(event.timestamp), visitor = event.anonymousId || ''
  if (Math.abs(now - at) < 60000) now = at
  var stores = edgeTry(function () { return analytics.user().identityStore.stores }) || []
  for (var i = 0; i < stores.length && !store; i++) {
    if (edgeTry(function () { return stores[i].get('ajs_anonymous_id') })) store = stores[i]
  }
  var kept = edgeTry(function () { return store.get(key) }) || edgePage.kept || []
  var id = String(kept[0]), start = parseInt(id.slice(0, 8) + id.slice(9, 13), 16), fresh = false
  if (!form.test(id) || kept[2] !== visitor || !(Math.abs(now - kept[1]) <= 1800000) ||
      start - now > 60000 || now - start > 86400000) {
    id = edgeId(now)
    fresh = true
  }
  var ids = edgeTry(function () {
    var other = (window/* as any*/).posthog
    if (other.__loaded && !other.has_opted_out_capturing()) return other.sessionManager.checkAndGetSessionAndWindowId(false, now)
  })
  if (!ids || !form.test(ids.sessionId) || !form.test(ids.windowId)) ids = null
  if (ids) id = ids.sessionId
  kept = edgePage.kept = [id, now, visitor]
  edgeTry(function () { store.set(key, kept) })
  var lasting = edgeTry(function () { return localStorage.getItem(key) === JSON.stringify(kept) })
  if (!edgePage.seen) {
    edgePage.seen = true
    edgeTry(function () {
      var tab = lasting && sessionStorage.getItem(key)
      if (tab && form.test(tab)) edgePage.tab = tab
    })
    addEventListener('pagehide', function () {
      edgeTry(function () { if (sessionStorage.getItem(key)) sessionStorage.setItem(key, edgePage.tab) })
    })
  }
  if (ids) edgePage.tab = ids.windowId
  else if (fresh || !edgePage.tab) edgePage.tab = edgeId(now)
  edgeTry(function () { if (lasting) sessionStorage.setItem(key, edgePage.tab + '!') })
  for (name in given) context[name] = given[name]
  context.sessionId = id
  context.windowId = edgePage.tab
  event.context = context
}
